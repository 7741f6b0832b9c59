//! `table export`: rows as lines of JSON.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ekka::admin::dto::{RowAnswer, RowsAnswer};
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::out;

/// Rows that are asked for at once.
const PAGE: usize = 1000;

pub(super) async fn export(client: &Client, path: &str, file: Option<PathBuf>) -> Result<(), Failure> {
    let mut sink: Box<dyn Write> = match &file {
        Some(file) => Box::new(BufWriter::new(File::create(file).map_err(|error| at(file, &error))?)),
        None => Box::new(std::io::stdout()),
    };
    let (mut after, mut count) = (Value::Null, 0usize);
    loop {
        let body = json!({"after": after, "limit": PAGE});
        let page: RowsAnswer = client.post(path, &body).await?.success()?.read()?;
        for line in page.rows.iter().flat_map(lines) {
            writeln!(sink, "{line}")?;
        }
        count += page.rows.len();
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    sink.flush()?;
    if let Some(file) = file {
        out::note(&format!("{count} rows are in {}", file.display()));
    }
    Ok(())
}

/// A row as lines. Of a bag with values that expire, or that JSON cannot say, each value has a line of its own.
fn lines(row: &RowAnswer) -> Vec<Value> {
    let line = |value: Value, expires_at: Option<&String>, encoded: bool| {
        let mut line = json!({"key": row.key, "value": value});
        if encoded {
            line["encoded"] = true.into();
        }
        if let Some(at) = expires_at {
            line["expires_at"] = at.clone().into();
        }
        line
    };
    match &row.value {
        Value::Array(values) if row.values_expire_at.is_some() || row.values_encoded.is_some() => {
            let time = |at: usize| row.values_expire_at.as_ref()?.get(at)?.as_ref();
            let encoded = |at: usize| row.values_encoded.as_ref().and_then(|all| all.get(at)).is_some_and(|is| *is);
            values.iter().enumerate().map(|(at, value)| line(json!([value]), time(at), encoded(at))).collect()
        }
        value => vec![line(value.clone(), row.expires_at.as_ref(), row.encoded)],
    }
}

pub(super) fn at(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value, expires_at: Option<&str>, values_expire_at: Option<Vec<Option<String>>>) -> RowAnswer {
        let expires_at = expires_at.map(Into::into);
        let (key, revision) = ("k".into(), "r".into());
        RowAnswer { key, value, encoded: false, values_encoded: None, revision, expires_at, values_expire_at }
    }

    #[test]
    fn a_line_says_when_its_row_expires_and_each_value_of_a_bag_keeps_its_own_time() {
        assert_eq!(lines(&row(json!([1]), None, None)), [json!({"key": "k", "value": [1]})]);
        let at = "2026-01-01T00:00:00.000Z";
        assert_eq!(lines(&row(json!(1), Some(at), None)), [json!({"key": "k", "value": 1, "expires_at": at})]);
        let bag = row(json!([[1, 2], 3]), None, Some(vec![Some(at.into()), None]));
        let (one, other) =
            (json!({"key": "k", "value": [[1, 2]], "expires_at": at}), json!({"key": "k", "value": [3]}));
        assert_eq!(lines(&bag), [one, other]);
    }

    #[test]
    fn a_line_says_that_its_value_is_bytes_which_json_cannot_say() {
        let bytes = json!({"base64": "/w=="});
        let one = RowAnswer { encoded: true, ..row(bytes.clone(), None, None) };
        assert_eq!(lines(&one), [json!({"key": "k", "value": bytes, "encoded": true})]);
        let bag = RowAnswer { values_encoded: Some(vec![false, true]), ..row(json!([bytes, bytes]), None, None) };
        let marked = json!({"key": "k", "value": [bytes], "encoded": true});
        assert_eq!(lines(&bag), [json!({"key": "k", "value": [bytes]}), marked]);
    }
}

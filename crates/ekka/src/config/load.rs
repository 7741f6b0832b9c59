//! Reads all sources, in order, and checks what they give together.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::auto::{Machine, Surroundings};
use super::checked::{self, Reader};
use super::error::{ConfigError, ConfigErrors, Notice, Place};
use super::model::Config;
use super::raw::{Entry, Raws, Twice};
use super::value::{Value, clip};
use super::{cuttlefish, effective, env, erlang};

/// Largest configuration file, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Where a configuration is read from; what comes later wins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Files, `.conf` or `.config`.
    pub files: Vec<PathBuf>,
    /// Environment variables, all of them: those that are configuration are picked out, and a few more tell about the
    /// surroundings (`HOME`, `XDG_CONFIG_HOME`, `POD_IP`, `KUBERNETES_SERVICE_HOST`).
    pub env: Vec<(String, String)>,
    /// `--set key=value`
    pub set: Vec<String>,
    /// `--name N`: `node.name`
    pub name: Option<String>,
    /// Values of a [`ConfigBuilder`](super::ConfigBuilder).
    pub built: Vec<(String, String)>,
}

impl Sources {
    /// The environment of this process, and nothing else yet. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn from_env() -> Self {
        let vars = std::env::vars_os();
        let env = vars.filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect();
        Self { env, ..Self::default() }
    }
}

/// A configuration that holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the operator is to know.
    pub notices: Vec<Notice>,
    /// Every value, for `ekka check`.
    pub values: Vec<Effective>,
}

/// A value that holds, and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The key.
    pub key: &'static str,
    /// The value as a `.conf` file would have it; secrets are masked.
    pub value: String,
    /// Where it came from.
    pub source: Place,
}

/// Reads and checks a configuration on this machine. Blocks for file reads, and for name resolution where the name is
/// `name@auto`.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    load_in(sources, &Machine)
}

/// The same with the machine given, for tests.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn load_in(sources: &Sources, around: &dyn Surroundings) -> Result<Loaded, ConfigErrors> {
    let mut raws = Raws::default();
    for path in &sources.files {
        let entries = file(path, &mut raws.errors, &mut raws.notices);
        raws.add(entries, Twice::Refused);
    }
    let entries = env::parse(&sources.env, &mut raws.errors, &mut raws.notices);
    raws.add(entries, Twice::Refused);
    let entries = set(&sources.set, &mut raws.errors);
    raws.add(entries, Twice::LaterWins);
    let written = |(key, text): (&str, &str), place| {
        vec![Entry { key: key.to_owned(), value: Value::Text(text.to_owned()), place }]
    };
    if let Some(name) = &sources.name {
        raws.add(written(("node.name", name), Place::Name), Twice::Refused);
    }
    let built = sources.built.iter().map(|(key, text)| Entry {
        key: key.clone(),
        value: Value::Written(text.clone()),
        place: Place::Builder,
    });
    raws.add(built.collect(), Twice::LaterWins);
    check(raws, &sources.env, around)
}

fn check(mut raws: Raws, vars: &[(String, String)], around: &dyn Surroundings) -> Result<Loaded, ConfigErrors> {
    let mut errors = std::mem::take(&mut raws.errors);
    let mut notices = std::mem::take(&mut raws.notices);
    // A file that cannot be read as a whole says nothing about what the rest lacks.
    if errors.iter().any(|e| matches!(e.place, Place::File { .. }) && e.key.is_none())
        && let Some(errors) = ConfigErrors::new(errors.clone())
    {
        return Err(errors);
    }
    let mut reader = Reader { raws: &raws, vars, around, errors: Vec::new(), notices: Vec::new() };
    let config = checked::config(&mut reader);
    errors.append(&mut reader.errors);
    notices.append(&mut reader.notices);
    match ConfigErrors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok(Loaded { values: effective::values(&config, &raws), config, notices }),
    }
}

fn set(assignments: &[String], errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for text in assignments {
        match cuttlefish::assignment(text) {
            Ok((key, value)) => entries.push(Entry { key, value: Value::Written(value.to_owned()), place: Place::Set }),
            Err((key, text)) => errors.push(ConfigError { place: Place::Set, key, text }),
        }
    }
    entries
}

fn file(path: &Path, errors: &mut Vec<ConfigError>, notices: &mut Vec<Notice>) -> Vec<Entry> {
    let mut refuse = |line: Option<u32>, text: String| {
        errors.push(ConfigError { place: Place::File { path: path.to_owned(), line }, key: None, text });
        Vec::new()
    };
    let text = match read(path) {
        Ok(text) => text,
        Err((line, text)) => return refuse(line, text),
    };
    let first = text.trim_start_matches('\u{feff}').trim_start().chars().next();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if extension == "args" {
        return vm_args(path, &text, errors);
    }
    match (extension, first) {
        ("conf", Some(c @ ('{' | '['))) => {
            refuse(None, format!("the file begins with `{c}`, as Erlang terms do: rename it to end in .config"))
        }
        ("conf", _) => cuttlefish::parse(path, &text, errors),
        ("config", _) | (_, Some('{' | '[' | '%')) => erlang::parse(path, &text, errors, notices),
        (_, Some('-' | '+')) => vm_args(path, &text, errors),
        _ => cuttlefish::parse(path, &text, errors),
    }
}

fn read(path: &Path) -> Result<String, (Option<u32>, String)> {
    let no = |e: std::io::Error| {
        let text = match e.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("cannot be read: {e}"),
        };
        (None, text)
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(no)?.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(no)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_LEN_MAX) {
        return Err((
            None,
            format!("the file is larger than {} KB; a configuration is a small text", FILE_LEN_MAX >> 10),
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
        (u32::try_from(line).ok(), "this line is not UTF-8; write the file in UTF-8".to_owned())
    })
}

/// Options of the Erlang machine are not read; which keys replace them is said line by line.
fn vm_args(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    let place = |line| Place::File { path: path.to_owned(), line };
    let before = errors.len();
    for (line_no, line) in (1u32..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let (key, text) = match word {
                "-setcookie" => ("node.cookie", "-setcookie: write node.cookie = …, or better node.cookie_file = PATH"),
                "-name" | "-sname" => ("node.name", "write node.name = "),
                "-proto_dist" => ("cluster.proto_dist", "write cluster.proto_dist = "),
                _ => continue,
            };
            let text = match word {
                "-setcookie" => text.to_owned(),
                _ => format!("{word}: {text}{}", clip(words.next().unwrap_or("…"))),
            };
            let text = format!("vm.args is not read; in place of {text}");
            errors.push(ConfigError { place: place(Some(line_no)), key: Some(key.to_owned()), text });
        }
    }
    if errors.len() == before {
        let text = "options of the Erlang machine are not read; write a .conf or .config file".to_owned();
        errors.push(ConfigError { place: place(None), key: None, text });
    }
    Vec::new()
}

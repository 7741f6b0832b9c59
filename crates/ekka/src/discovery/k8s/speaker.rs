//! Who answers, and how its words are shown: on one line, cut to what a line of the log bears, and without the token, which
//! a proxy may send back.

use std::fmt;

/// Letters of what a server says that are shown.
const SHOWN_MAX: usize = 300;

/// A server that answered.
#[derive(Clone)]
pub(super) struct Speaker {
    server: String,
    /// The token that it was sent.
    secret: Option<String>,
}

impl Speaker {
    pub(super) fn new(server: String, secret: Option<String>) -> Self {
        Self { server, secret: secret.filter(|secret| !secret.is_empty()) }
    }

    /// Its words. The token goes before anything is cut, or its beginning would stay.
    pub(super) fn words(&self, text: &str) -> String {
        let text = match &self.secret {
            Some(secret) => text.replace(secret.as_str(), "(the token)"),
            None => text.to_owned(),
        };
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect();
        line.trim().to_owned()
    }
}

/// The server.
impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_sent_back_is_not_shown_whole_nor_in_part() {
        let secret = "eyJhbGciOi.".repeat(90);
        let speaker = Speaker::new("https://api".into(), Some(secret.clone()));
        for text in [format!("Authorization: Bearer {secret}"), format!("{}{secret}{secret}", "x".repeat(290))] {
            let shown = speaker.words(&text);
            assert!(!shown.contains("eyJ") && shown.len() <= SHOWN_MAX, "{shown}");
        }
        assert_eq!(Speaker::new("s".into(), Some(String::new())).words(" a\nb "), "a b");
    }
}

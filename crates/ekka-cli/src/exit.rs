//! How a command ends: the exit codes of the contract, and errors in words or as JSON.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use ekka::admin::dto::{ErrorAnswer, ErrorBody};

/// What the exit code of a command that was not done says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// It was tried and failed, or the answer is no.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// No agent answers.
    NoAgent = 3,
    /// Not acquired, or not found.
    NotFound = 4,
    /// It took too long.
    TimedOut = 5,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    code: Code,
    /// In place of that code: what a command that was run ended with.
    exit: Option<u8>,
    /// `None` where the output has said it already.
    error: Option<ErrorBody>,
}

impl Failure {
    /// A failure with a word for programs and a text for people.
    pub fn new(code: Code, word: &str, message: impl Display) -> Self {
        let message = message.to_string();
        let error = Some(ErrorBody { code: word.into(), message, ..ErrorBody::default() });
        Self { code, exit: None, error }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Code::Usage, "usage", message)
    }

    /// It was tried and failed.
    pub fn failed(message: impl Display) -> Self {
        Self::new(Code::Failed, "failed", message)
    }

    /// An answer of `no` that the output has given already.
    #[must_use]
    pub fn silent(code: Code) -> Self {
        Self { code, exit: None, error: None }
    }

    /// What an agent answered instead of doing it.
    #[must_use]
    pub fn answered(body: ErrorBody) -> Self {
        let code = match body.code.as_str() {
            "not_found" | "no_such_method" | "not_acquired" => Code::NotFound,
            "timed_out" => Code::TimedOut,
            "ambiguous" | "bad_request" => Code::Usage,
            _ => Code::Failed,
        };
        Self { code, exit: None, error: Some(body) }
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_exit(self, exit: u8) -> Self {
        Self { exit: Some(exit), ..self }
    }

    /// What the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.exit.map_or_else(|| self.code.into(), ExitCode::from)
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.message)
    }

    /// Prints it to standard error.
    pub(crate) fn print(&self, json: bool) {
        let Some(error) = &self.error else { return };
        let mut stderr = std::io::stderr().lock();
        // Nothing is left to be done where standard error is closed.
        let _ = if json {
            let answer = ErrorAnswer { error: error.clone() };
            writeln!(stderr, "{}", serde_json::to_string(&answer).unwrap_or_default())
        } else {
            let candidates: String = error.candidates.iter().map(|name| format!("\n  {name}")).collect();
            writeln!(stderr, "ekka: {}{candidates}", error.message)
        };
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

//! A run that failed: what was broken, and what happened last.

/// Why a run failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was broken, in words.
    pub what: String,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

impl Failure {
    /// Everything that a person needs: the last lines, what was broken, and the command that repeats it.
    #[must_use]
    pub fn tell(&self, kind: &str, seed: u64) -> String {
        format!("{}\n{}\nrepeat with: cargo xtask sim --kind {kind} --seed {seed:#x}", self.trace.join("\n"), self.what)
    }
}

/// The words of a panic.
#[must_use]
pub fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a check failed: {}", text.unwrap_or_else(|| "a panic without words".into()))
}

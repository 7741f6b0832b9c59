//! The typed way to a configuration.

use std::path::PathBuf;

use super::auto::{Machine, Surroundings};
use super::error::ConfigErrors;
use super::load::{Loaded, Sources, load_in};
use super::model::Config;

/// Puts a configuration together in Rust: the same values as in a file, by the same checks.
///
/// Reads no `EKKA_*` variables and no files unless told to ([`ConfigBuilder::over`]).
///
/// ```
/// use ekka::config::ConfigBuilder;
/// let config = ConfigBuilder::new()
///     .name("ekka1@127.0.0.1")
///     .cookie("for-this-example-only")
///     .seeds(["ekka1@127.0.0.1", "ekka2@127.0.0.1"])
///     .set("cluster.autoclean", "5m")
///     .build()?;
/// assert_eq!(config.node.port, 4371);
/// # Ok::<(), ekka::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    sources: Option<Sources>,
    values: Vec<(String, String)>,
}

impl ConfigBuilder {
    /// Nothing set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes files, environment and the like as the base; what is set here wins over it.
    #[must_use]
    pub fn over(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// `node.name`
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.text("node.name", &name.into())
    }

    /// `node.cookie`
    #[must_use]
    pub fn cookie(self, cookie: impl Into<String>) -> Self {
        self.text("node.cookie", &cookie.into())
    }

    /// `node.cookie_file`
    #[must_use]
    pub fn cookie_file(self, path: impl Into<PathBuf>) -> Self {
        self.text("node.cookie_file", &path.into().to_string_lossy())
    }

    /// `node.data_dir`
    #[must_use]
    pub fn data_dir(self, path: impl Into<PathBuf>) -> Self {
        self.text("node.data_dir", &path.into().to_string_lossy())
    }

    /// `cluster.name`
    #[must_use]
    pub fn cluster_name(self, name: impl Into<String>) -> Self {
        self.text("cluster.name", &name.into())
    }

    /// `cluster.discovery`: a word, or several with commas between.
    #[must_use]
    pub fn discovery(self, strategies: impl Into<String>) -> Self {
        self.set("cluster.discovery", strategies)
    }

    /// `cluster.discovery = static` with these seeds.
    #[must_use]
    pub fn seeds<S: Into<String>>(self, seeds: impl IntoIterator<Item = S>) -> Self {
        let seeds: Vec<String> = seeds.into_iter().map(|seed| seed.into()).collect();
        self.discovery("static").set("cluster.static.seeds", seeds.join(","))
    }

    /// `cluster.expect`
    #[must_use]
    pub fn expect(self, nodes: u32) -> Self {
        self.set("cluster.expect", nodes.to_string())
    }

    /// Any key, with the value as a `.conf` file would have it.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.push((key.into(), value.into()));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn build(self) -> Result<Config, ConfigErrors> {
        self.load().map(|loaded| loaded.config)
    }

    /// Checks everything, and gives the notices and effective values too.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn load(self) -> Result<Loaded, ConfigErrors> {
        self.load_in(&Machine)
    }

    /// The same with the machine given, for tests.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn load_in(self, around: &dyn Surroundings) -> Result<Loaded, ConfigErrors> {
        let mut sources = self.sources.unwrap_or_else(surroundings_only);
        sources.built.extend(self.values);
        load_in(&sources, around)
    }

    /// Sets exactly this text: quotes and commas have no meaning in it.
    fn text(self, key: &str, text: &str) -> Self {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        self.set(key, quoted)
    }
}

/// The variables that tell about the surroundings, none that is configuration.
fn surroundings_only() -> Sources {
    const NAMES: [&str; 4] = ["HOME", "XDG_CONFIG_HOME", "POD_IP", "KUBERNETES_SERVICE_HOST"];
    let mut sources = Sources::from_env();
    sources.env.retain(|(name, _)| NAMES.contains(&name.as_str()));
    sources
}

//! A machine that the tests make up, and files in a directory of their own.

use std::net::IpAddr;
use std::path::PathBuf;

use ekka::config::{ConfigErrors, Loaded, Sources, Surroundings, load_in};

/// A machine without a name, a network or a container, unless told so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub(crate) container: bool,
    pub(crate) host_name: Option<&'static str>,
    pub(crate) addrs: Vec<IpAddr>,
    pub(crate) own: Vec<IpAddr>,
    pub(crate) route: Option<IpAddr>,
    pub(crate) files: Vec<(&'static str, &'static str)>,
}

impl Surroundings for Around {
    fn in_container(&self) -> bool {
        self.container
    }

    fn host_name(&self) -> Option<String> {
        self.host_name.map(str::to_owned)
    }

    fn resolve(&self, _: &str) -> Vec<IpAddr> {
        self.addrs.clone()
    }

    fn route_source(&self, ipv6: bool) -> Option<IpAddr> {
        self.route.filter(|ip| ip.is_ipv6() == ipv6)
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.own.contains(&ip)
    }

    fn read(&self, path: &str) -> Option<String> {
        self.files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    fn exists(&self, path: &str) -> bool {
        self.read(path).is_some()
    }
}

/// Variables.
pub(crate) fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let home = [("HOME", "/home/test")];
    home.iter().chain(pairs).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Writes a file into a directory that lives as long as the result.
pub(crate) fn file(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file in it");
    (dir, path)
}

/// Loads one file, with `HOME` set and nothing else.
pub(crate) fn load_file(name: &str, text: impl AsRef<[u8]>) -> Result<Loaded, ConfigErrors> {
    let (_dir, path) = file(name, text);
    load_in(&Sources { files: vec![path], env: vars(&[]), ..Sources::default() }, &Around::default())
}

/// The value that `ekka check` would show for a key.
pub(crate) fn shown(loaded: &Loaded, key: &str) -> Option<String> {
    loaded.values.iter().find(|value| value.key == key).map(|value| value.value.clone())
}

//! An operator with a certificate authority, whose files lie in a folder.

use std::fs;
use std::path::Path;

use ekka::config::TlsMode;
use ekka::transport::Credentials;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType, date_time_ymd};

use super::{COOKIE, credentials};

pub struct Pki {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a certificate for a new key, and the key.
    pub fn issue(&self, san: SanType, last_year: i32) -> Credentials {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        self.replace("node.pem", &self.certificate(&key, san, last_year));
        self.replace("node.key", &key.serialize_pem());
        files(&self.path().join("node.pem"), &self.path().join("node.key"), &self.path().join("ca.pem"))
    }

    /// Writes another certificate for the key that is there.
    pub fn renew(&self, san: SanType, last_year: i32) {
        let key = KeyPair::from_pem(&fs::read_to_string(self.path().join("node.key")).unwrap()).unwrap();
        self.replace("node.pem", &self.certificate(&key, san, last_year));
    }

    fn certificate(&self, key: &KeyPair, san: SanType, last_year: i32) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![san];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// Replaces a file whole: nobody reads half of it.
    pub fn replace(&self, name: &str, text: &str) {
        fs::write(self.path().join("aside"), text).unwrap();
        fs::rename(self.path().join("aside"), self.path().join(name)).unwrap();
    }

    pub fn trusted(&self) -> Credentials {
        self.issue(loopback(), 4000)
    }
}

pub fn files(certfile: &Path, keyfile: &Path, cacertfile: &Path) -> Credentials {
    let mode = TlsMode::Files {
        certfile: certfile.to_owned(),
        keyfile: keyfile.to_owned(),
        cacertfile: cacertfile.to_owned(),
    };
    credentials(COOKIE, "ekka", &mode)
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// What every node of the tests may be certified as.
pub fn loopback() -> SanType {
    SanType::IpAddress([127, 0, 0, 1].into())
}

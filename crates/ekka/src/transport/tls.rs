//! Mutual TLS 1.3: the authority that a cookie stands for, or the operator's.
//!
//! Both ends verify a chain to one of the trusted authorities and nothing else here: whose the chain is, is compared
//! with the claimed name after the Hello (mode `files`), or is not certified at all (mode `cookie`).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

use ekka_core::id::{Host, NodeName};

use super::credentials::{AuthorityId, CredentialsError};
use super::files::{Facts, Files};
use super::kdf::{Root, mac};
use crate::env::Clock;

/// The only name that a certificate made from a cookie holds; TLS wants one, nobody compares it.
pub(super) const PEER_DNS_NAME: &str = "peer.ekka.internal";

/// PKCS#8 version 1 of an ed25519 seed (RFC 8410, section 7), up to the seed.
const ED25519_PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What both ends of a TLS connection are made with.
pub(super) struct Tls {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// The authority that signs for this node; not known for the operator's files.
    pub(super) own: Option<AuthorityId>,
    /// Of the operator's files.
    pub(super) facts: Option<Facts>,
    authorities: Vec<(AuthorityId, RootCertStore)>,
    clock: Arc<CertificateClock>,
}

/// The time that certificates are judged by: constant for those made from a cookie, which have no limits; the wall
/// clock of the environment for the operator's, once a transport has given it.
pub(super) enum CertificateClock {
    Constant,
    Wall(OnceLock<Arc<dyn Clock>>),
}

impl fmt::Debug for CertificateClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateClock")
    }
}

impl TimeProvider for CertificateClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = match self {
            Self::Constant => Duration::from_secs(1_800_000_000),
            Self::Wall(clock) => Duration::from_millis(clock.get()?.now().wall.as_millis()),
        };
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

impl Tls {
    /// From cookies: the first signs, all are trusted.
    pub(super) fn from_cookies(roots: &[Root], cluster_name: &str) -> Result<Self, CredentialsError> {
        let mut authorities = Vec::new();
        let mut leaf = None;
        for root in roots {
            let (issuer, certificate) =
                authority(&root.key("authority", cluster_name)).map_err(|error| made(&error))?;
            authorities.push(certificate);
            if leaf.is_none() {
                leaf = Some(sign_leaf(&issuer).map_err(|error| made(&error))?);
            }
        }
        let (chain, key) = leaf.ok_or_else(|| CredentialsError::Derivation("there is no cookie".to_owned()))?;
        let mut tls = Self::new(&authorities, vec![chain], key, CertificateClock::Constant)?;
        tls.own = tls.authorities.first().map(|(id, _)| *id);
        Ok(tls)
    }

    /// From the operator's files.
    pub(super) fn from_files(files: Files) -> Result<Self, CredentialsError> {
        let Files { chain, key, authorities, facts } = files;
        let mut tls = Self::new(&authorities, chain, key, CertificateClock::Wall(OnceLock::new()))?;
        tls.facts = Some(facts);
        Ok(tls)
    }

    fn new(
        trusted: &[CertificateDer<'static>],
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        clock: CertificateClock,
    ) -> Result<Self, CredentialsError> {
        let tls = |error: rustls::Error| CredentialsError::Tls(error.to_string());
        let crypto = Arc::new(provider::default_provider());
        let clock = Arc::new(clock);
        let mut all = RootCertStore::empty();
        let mut authorities = Vec::new();
        for certificate in trusted {
            let mut one = RootCertStore::empty();
            one.add(certificate.clone()).map_err(tls)?;
            all.add(certificate.clone()).map_err(tls)?;
            authorities.push((AuthorityId::of(certificate), one));
        }
        let all = Arc::new(all);
        let client_verifier = WebPkiClientVerifier::builder_with_provider(all.clone(), crypto.clone())
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| CredentialsError::Tls(error.to_string()))?;
        let mut server = ServerConfig::builder_with_details(crypto.clone(), clock.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(client_verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(tls)?;
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let verifier = Arc::new(ChainVerifier { roots: all, crypto: crypto.clone() });
        let mut client = ClientConfig::builder_with_details(crypto, clock.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(tls)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), own: None, facts: None, authorities, clock })
    }

    /// Gives the clock that certificates of the operator are judged by. The first one stays.
    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        if let CertificateClock::Wall(slot) = &*self.clock {
            slot.get_or_init(|| clock.clone());
        }
    }

    /// The place of a trusted authority in their list: that of its cookie, where they are made from cookies.
    pub(super) fn place_of(&self, authority: &AuthorityId) -> Option<usize> {
        self.authorities.iter().position(|(id, _)| id == authority)
    }

    /// Which of the trusted authorities the peer's chain leads to.
    pub(super) fn authority_of(&self, chain: &[CertificateDer<'_>], peer_is_server: bool) -> Option<AuthorityId> {
        let (leaf, intermediates) = chain.split_first()?;
        let now = self.clock.current_time()?;
        let leaf = webpki::EndEntityCert::try_from(leaf).ok()?;
        let algorithms = provider::default_provider().signature_verification_algorithms;
        let usage = || {
            if peer_is_server { webpki::KeyUsage::server_auth() } else { webpki::KeyUsage::client_auth() }
        };
        let leads_to = |store: &RootCertStore| {
            leaf.verify_for_usage(algorithms.all, &store.roots, intermediates, now, usage(), None, None).is_ok()
        };
        self.authorities.iter().find(|(_, store)| leads_to(store)).map(|(id, _)| *id)
    }
}

fn made(error: &rcgen::Error) -> CredentialsError {
    CredentialsError::Tls(error.to_string())
}

fn lasting_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.serial_number = Some(SerialNumber::from(1u64));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The authority that a seed stands for: the same bytes wherever it is derived, as ed25519 signs without randomness.
fn authority(seed: &[u8; 32]) -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), rcgen::Error> {
    let mut pkcs8 = ED25519_PKCS8_HEAD.to_vec();
    pkcs8.extend_from_slice(seed);
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)?;
    let mut params = lasting_params("ekka authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key)?.der().clone();
    Ok((Issuer::new(params, key), certificate))
}

/// A leaf with a fresh key. It holds nobody's name: who dials learns nothing from it.
fn sign_leaf(issuer: &Issuer<'_, KeyPair>) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = lasting_params("ekka node");
    params.subject_alt_names = vec![SanType::DnsName(PEER_DNS_NAME.try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer)?.der().clone();
    Ok((certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// Whether the certificate is for the claimed name: its host as DNS name or address, or `ekka://` and the whole name.
pub(super) fn certifies(leaf: &CertificateDer<'_>, name: &NodeName) -> Result<(), String> {
    let certificate = webpki::EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    let uri = format!("ekka://{name}");
    if certificate.valid_uri_names().any(|found| found.eq_ignore_ascii_case(&uri)) {
        return Ok(());
    }
    let host = match name.host() {
        Host::Ip(ip) => ServerName::from(*ip),
        Host::Dns(dns) => ServerName::try_from(dns.clone()).map_err(|error| error.to_string())?,
    };
    if certificate.verify_is_valid_for_subject_name(&host).is_ok() {
        return Ok(());
    }
    let dns = certificate.valid_dns_names().map(str::to_owned);
    let found: Vec<String> = dns.chain(certificate.valid_uri_names().map(str::to_owned)).collect();
    let found = if found.is_empty() { "no DNS name or URI".to_owned() } else { found.join(", ") };
    Err(format!("the certificate is for {found}, not for {}, {uri} or the claimed address", name.host()))
}

impl AuthorityId {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(mac(b"ekka authority id", &[certificate]))
    }
}

/// Takes every server whose chain leads to a trusted authority.
#[derive(Debug)]
struct ChainVerifier {
    roots: Arc<RootCertStore>,
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.crypto.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is never offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::kdf::Kdf;
    use super::*;

    #[test]
    fn independent_derivations_give_the_same_authority_byte_for_byte() {
        let derive = |cookie, name| {
            let root = Root::stretch(cookie, Kdf::cheap()).unwrap();
            authority(&root.key("authority", name)).unwrap().1
        };
        assert_eq!(derive("one", "ekka"), derive("one", "ekka"));
        assert_ne!(derive("one", "ekka"), derive("two", "ekka"));
        assert_ne!(derive("one", "ekka"), derive("one", "other"));
    }

    #[test]
    fn s2_13_leaves_are_fresh_and_tell_no_name() {
        let (issuer, _) = authority(&[7; 32]).unwrap();
        let (a, _) = sign_leaf(&issuer).unwrap();
        let (b, _) = sign_leaf(&issuer).unwrap();
        assert_ne!(a, b);
        assert_eq!(a.len(), b.len(), "sizes do not depend on the key, for simulation");
        let leaf = webpki::EndEntityCert::try_from(&a).unwrap();
        assert_eq!(leaf.valid_dns_names().collect::<Vec<_>>(), [PEER_DNS_NAME]);
    }
}

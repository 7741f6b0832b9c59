//! When a certificate ends.
//!
//! The TLS library judges the limits of a certificate and does not tell them. A parser of X.509 is far more code than
//! the five steps to this one field, and all of it would see bytes of the operator's files only.

use std::time::UNIX_EPOCH;

/// `notAfter` (RFC 5280, section 4.1.2.5) in seconds since 1970; `None` where the bytes are no certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let mut tbs = Der(Der(certificate).expect(SEQUENCE)?).inside(SEQUENCE)?;
    if tbs.0.first() == Some(&VERSION) {
        tbs.next()?;
    }
    tbs.expect(INTEGER)?; // the serial number
    tbs.expect(SEQUENCE)?; // the algorithm of the signature
    tbs.expect(SEQUENCE)?; // the issuer
    let mut validity = tbs.inside(SEQUENCE)?;
    validity.next()?;
    let (tag, time) = validity.next()?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// The times of a certificate: `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` from 2050 on.
fn seconds(tag: u8, text: &str) -> Option<u64> {
    if !text.is_ascii() {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        GENERALIZED_TIME => text.split_at_checked(4).map(|(year, rest)| (year.to_owned(), rest))?,
        _ => return None,
    };
    if rest.len() != "MMDDHHMMSSZ".len() {
        return None;
    }
    let part = |at: usize| &rest[at..at + 2];
    let text = format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8));
    let time = humantime::parse_rfc3339(&text).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, absent in version 1.
const VERSION: u8 = 0xa0;

/// A series of DER values, read from the front.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            let (bytes, rest) = rest.split_at_checked(count).filter(|_| count <= 4)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value, which has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// What the next value, which has this tag, holds.
    fn inside(&mut self, tag: u8) -> Option<Der<'a>> {
        self.expect(tag).map(Der)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, date_time_ymd};

    use super::*;

    fn until(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["ekka.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(year, 3, 1);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(not_after(&until(2000)), Some(951_868_800), "2000-03-01, in the short form");
        assert_eq!(not_after(&until(2049)), Some(2_498_169_600));
        assert_eq!(not_after(&until(2050)), Some(2_529_705_600), "in the long form");
        assert_eq!(not_after(&until(4000)), Some(64_065_772_800));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let certificate = until(2030);
        for length in 0..certificate.len().min(200) {
            assert_eq!(not_after(&certificate[..length]), None);
        }
        let mut changed = certificate.clone();
        for at in 0..certificate.len().min(200) {
            for byte in [0x00, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                changed[at] = byte;
                not_after(&changed); // whatever it finds, it comes back
            }
            changed[at] = certificate[at];
        }
        assert_eq!(seconds(UTC_TIME, "300231000000Z"), None, "the thirty-first of February");
        assert_eq!(seconds(UTC_TIME, "30é1000000Z"), None);
    }
}

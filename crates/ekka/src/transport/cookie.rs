//! Cookies: the secrets that nodes of one cluster share, and the file that holds them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use super::kdf::{Kdf, Root};
use crate::config::{self, CookieSource, Secret};

/// One to three secrets: the first signs, all are trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CookieSet {
    secrets: Vec<Secret>,
}

/// Why there is no cookie.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The file cannot be read.
    #[error("{path}: the cookie file cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The user's file was absent and cannot be made.
    #[error("{path}: the cookie file cannot be made: {source}")]
    Make {
        /// The file.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The text is no list of cookies.
    #[error("{origin}: {problem}")]
    Content {
        /// Where the text came from.
        origin: String,
        /// What is wrong, where, and what is accepted.
        problem: String,
    },
    /// A cookie that can be guessed, for a node that others can reach.
    #[error(
        "a cookie of {found} characters; a node outside loopback needs at least {COOKIE_LEN_MIN} \
         (`ekka keygen` makes one), or node.cookie_weak = allow"
    )]
    Weak {
        /// Its length.
        found: usize,
    },
}

impl CookieSet {
    /// The cookies of a node, as its configuration says. Blocks.
    ///
    /// # Errors
    /// As [`CookieSet::read`]; or one is short, the node is not on loopback, and nobody allowed that.
    pub fn of(node: &config::Node) -> Result<Self, CookieError> {
        let cookies = Self::read(&node.cookie)?;
        let found = cookies.shortest();
        if found < COOKIE_LEN_MIN && !node.cookie_weak && !node.name.host().is_loopback() {
            return Err(CookieError::Weak { found });
        }
        Ok(cookies)
    }

    /// Reads the text of a cookie file: one to three lines, each one cookie; lines that begin with `#` and empty ones
    /// are skipped.
    ///
    /// # Errors
    /// There is none, or more than three, or one holds what cannot be seen: a BOM, NUL, or white space.
    pub fn parse(text: &str, origin: &str) -> Result<Self, CookieError> {
        let error = |problem: String| CookieError::Content { origin: origin.to_owned(), problem };
        if text.starts_with('\u{feff}') {
            return Err(error("begins with a byte order mark: save it as plain text without one".to_owned()));
        }
        let mut secrets = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(bad) = line.chars().find(|c| c.is_whitespace() || c.is_control()) {
                let name = if bad == '\0' { "a NUL byte".to_owned() } else { format!("the character {bad:?}") };
                return Err(error(format!(
                    "line {} holds {name}: a cookie is printable characters without white space",
                    number + 1
                )));
            }
            let secret = Secret::new(line);
            if secrets.contains(&secret) {
                return Err(error(format!("line {} repeats an earlier cookie: delete one of them", number + 1)));
            }
            secrets.push(secret);
        }
        match secrets.len() {
            0 => Err(error("holds no cookie: `ekka keygen` prints one".to_owned())),
            1..=COOKIES_MAX => Ok(Self { secrets }),
            found => Err(error(format!("holds {found} cookies, at most {COOKIES_MAX} are taken: delete the oldest"))),
        }
    }

    /// Reads the cookies from where the configuration says. The user's file is made if absent. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or made, or what it holds is refused.
    pub fn read(source: &CookieSource) -> Result<Self, CookieError> {
        let path = match source {
            CookieSource::Literal(secret) => return Self::parse(secret.expose(), "node.cookie"),
            CookieSource::File(path) => path,
            CookieSource::UserFile(path) => {
                make_if_absent(path)
                    .map_err(|source| CookieError::Make { path: path.display().to_string(), source })?;
                path
            }
        };
        let origin = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| CookieError::Read { path: origin.clone(), source })?;
        let text = String::from_utf8(bytes).map_err(|_| CookieError::Content {
            origin: origin.clone(),
            problem: "is no UTF-8 text: `ekka keygen` prints a cookie that is".to_owned(),
        })?;
        Self::parse(&text, &origin)
    }

    /// A new cookie: 43 characters from 32 random bytes of the system.
    #[must_use]
    pub fn generate() -> String {
        let mut bytes = [0u8; 32];
        SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
        base64url(&bytes)
    }

    /// Fingerprints, the first of the cookie that signs. Blocks for the whole derivation of each cookie, so that a
    /// fingerprint is of no use for guessing; where there are [`Credentials`](super::Credentials), they hold them already.
    ///
    /// # Errors
    /// The derivation refuses its parameters.
    pub fn fingerprints(&self, kdf: Kdf) -> Result<Vec<String>, super::CredentialsError> {
        Ok(self.roots(kdf)?.iter().map(Root::fingerprint).collect())
    }

    /// Length of the shortest cookie in characters, for the rule on weak ones.
    #[must_use]
    pub fn shortest(&self) -> usize {
        self.secrets.iter().map(|secret| secret.expose().chars().count()).min().unwrap_or(0)
    }

    /// How many cookies there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    pub(super) fn roots(&self, kdf: Kdf) -> Result<Vec<Root>, super::CredentialsError> {
        let stretch = |secret: &Secret| Root::stretch(secret.expose(), kdf);
        self.secrets
            .iter()
            .map(stretch)
            .collect::<Result<_, _>>()
            .map_err(|error| super::CredentialsError::Derivation(error.to_string()))
    }
}

const COOKIES_MAX: usize = 3;
/// Whoever dials receives what cookies can be tested with offline; at this length that comes to nothing.
const COOKIE_LEN_MIN: usize = 32;

/// Makes the file whole under another name and links it into place: of several nodes that start at once one wins, and
/// nobody reads half a cookie.
fn make_if_absent(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}-{}", std::process::id(), &CookieSet::generate()[..8]));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        writeln!(file, "{}", CookieSet::generate())?;
        file.sync_all()?;
        fs::hard_link(&aside, path)
    })();
    let removed = fs::remove_file(&aside);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => removed,
        Err(error) => Err(error),
        Ok(()) => removed,
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn words(text: &str) -> Result<Vec<String>, String> {
        CookieSet::parse(text, "/etc/ekka/cookie")
            .map(|set| set.secrets.iter().map(|s| s.expose().to_owned()).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_holds_up_to_three_cookies_and_comments() {
        assert_eq!(words("abc").unwrap(), ["abc"]);
        assert_eq!(words("# new\nabc\r\n\n# old\ndef\n").unwrap(), ["abc", "def"]);
        for (text, part) in [
            ("", "holds no cookie"),
            ("# only this\n", "holds no cookie"),
            ("a\nb\nc\nd\n", "holds 4 cookies, at most 3"),
            ("a\na\n", "line 2 repeats"),
            ("\u{feff}abc", "byte order mark"),
            ("x\na b", "line 2 holds the character ' '"),
            ("a\tb", r"'\t'"),
            ("abc \n", "' '"),
            ("a\0b", "a NUL byte"),
        ] {
            let error = words(text).unwrap_err();
            assert!(error.contains(part) && error.starts_with("/etc/ekka/cookie: "), "{text:?}: {error}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let set = CookieSet::parse("hunter2-hunter2", "test").unwrap();
        assert!(!format!("{set:?}").contains("hunter2"));
    }

    #[test]
    fn base64url_is_as_in_rfc_4648() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xff\xfe", "__4")] {
            assert_eq!(base64url(bytes), text);
        }
        assert_eq!(CookieSet::generate().len(), 43);
        assert_ne!(CookieSet::generate(), CookieSet::generate());
    }

    #[test]
    fn nodes_that_start_at_once_agree_on_the_users_cookie() {
        let dir = tempfile::tempdir().unwrap();
        let source = CookieSource::UserFile(dir.path().join("new/dir/cookie"));
        let read = || CookieSet::read(&source).unwrap();
        let sets: Vec<CookieSet> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(read)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(sets.iter().all(|set| *set == sets[0]));
        assert_eq!(sets[0].shortest(), 43);
        let dir = dir.path().join("new/dir");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside the cookie");
        assert_eq!(fs::metadata(dir.join("cookie")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

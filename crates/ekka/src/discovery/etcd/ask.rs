//! One question to the servers: the one that answered last is asked first, then the others, each for a bounded time.
//! A user's token is fetched when it is needed, and again when etcd does not know it any more.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::words::{Failure, Kind, Who, hint};
use crate::env::Env;
use crate::http::{Client, HttpError, Limits, Lines, Request, Response, Server, TlsFiles};

/// What all tries of one question may take: less than what the node gives a strategy (`DISCOVERY_TIMEOUT`).
const QUESTION_MAX: Duration = Duration::from_secs(9);
/// Bytes of an answer, or of one line of a watch.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Secrets that are remembered: passwords and tokens change now and then.
const SECRETS_MAX: usize = 16;

/// The servers, and who asks them.
pub(super) struct Ask {
    client: Client,
    servers: Vec<Server>,
    pub(super) who: Who,
    password_file: Option<PathBuf>,
    env: Env,
    /// The server that answered last.
    last_good: watch::Sender<usize>,
    token: Mutex<Token>,
    /// What was sent of it: a server may send it back, and it must not get into words.
    secrets: Mutex<Vec<String>>,
}

/// How a request says who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pass {
    /// Not at all.
    Nobody,
    /// By a token, which is fetched below this path (v3).
    Token(&'static str),
    /// By user and password in each request (v2).
    Basic,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    NotAsked,
    Is(String),
    /// etcd takes anybody.
    NotNeeded,
}

/// Why one server gave no answer.
enum Miss {
    /// Another one may.
    Next(String),
    /// This is the answer of all of them.
    Final(Failure),
}

impl Ask {
    pub(super) fn new(env: Env, servers: Vec<Server>, tls: TlsFiles, who: Who, password_file: Option<PathBuf>) -> Self {
        // All of up to three are asked in time, also where each is silent; a single one may take longer.
        let (connect, answer) = match servers.len() {
            0 | 1 => (3, 5),
            2 | 3 => (1, 2),
            _ => (1, 1),
        };
        let (connect, answer) = (Duration::from_secs(connect), Duration::from_secs(answer));
        let client = Client::new(env.clone(), tls, Limits { connect, answer, body_max: ANSWER_MAX });
        let token = Mutex::new(Token::NotAsked);
        Self {
            client,
            servers,
            who,
            password_file,
            env,
            last_good: watch::Sender::new(0),
            token,
            secrets: Mutex::default(),
        }
    }

    /// Tells when another server answers than before.
    pub(super) fn last_good(&self) -> watch::Receiver<usize> {
        self.last_good.subscribe()
    }

    /// Whether a password goes over the network in the clear, and to whom.
    pub(super) fn password_in_the_clear(&self) -> Option<&Server> {
        self.who.user.as_ref()?;
        self.servers.iter().find(|server| !server.is_tls() && !server.is_loopback())
    }

    /// Whether a user is set and etcd does not want one.
    pub(super) fn user_not_needed(&self) -> bool {
        *self.token() == Token::NotNeeded
    }

    /// The answer of the first server that gives one, and that server. An answer of 5xx is none.
    pub(super) async fn send(&self, request: &Request, pass: Pass) -> Result<(&Server, Response), Failure> {
        let mut tries = Tries::new(self);
        while let Some((number, server)) = tries.next() {
            match self.once(server, request, pass).await {
                Ok(response) => {
                    self.good(number);
                    return Ok((server, response));
                }
                Err(Miss::Next(why)) => tries.missed(why),
                Err(Miss::Final(failure)) => return Err(failure),
            }
        }
        Err(tries.failure())
    }

    /// The same for an answer that is read line by line, with the number of the server that gives it.
    pub(super) async fn lines(&self, request: &Request, pass: Pass) -> Result<(usize, Lines), Failure> {
        let mut tries = Tries::new(self);
        while let Some((number, server)) = tries.next() {
            let authorization = match self.authorization(server, pass).await {
                Ok(authorization) => authorization,
                Err(Miss::Next(why)) => {
                    tries.missed(why);
                    continue;
                }
                Err(Miss::Final(failure)) => return Err(failure),
            };
            match self.client.lines(server, request.clone().authorized(authorization.clone())).await {
                Ok(Ok(lines)) => {
                    self.good(number);
                    return Ok((number, lines));
                }
                Ok(Err(response)) => {
                    if is_stale(&response) {
                        self.forget(authorization.as_ref());
                    }
                    tries.missed(format!("{server}: {}: {}", response.status, self.said(&response)));
                }
                Err(error) => tries.missed(miss(&error)),
            }
        }
        Err(tries.failure())
    }

    fn good(&self, number: usize) {
        self.last_good.send_if_modified(|last| std::mem::replace(last, number) != number);
    }

    async fn once(&self, server: &Server, request: &Request, pass: Pass) -> Result<Response, Miss> {
        let authorization = self.authorization(server, pass).await?;
        let response = self.plain(server, request.clone().authorized(authorization.clone())).await?;
        if !is_stale(&response) || !matches!(pass, Pass::Token(_)) || authorization.is_none() {
            return Ok(response);
        }
        self.forget(authorization.as_ref());
        let authorization = self.authorization(server, pass).await?;
        self.plain(server, request.clone().authorized(authorization)).await
    }

    async fn plain(&self, server: &Server, request: Request) -> Result<Response, Miss> {
        match self.client.send(server, request).await {
            Ok(response) if response.status.is_server_error() => {
                Err(Miss::Next(format!("{server}: {}: {}", response.status.as_u16(), self.said(&response))))
            }
            Ok(response) => Ok(response),
            Err(error @ HttpError::TooLarge { .. }) => {
                Err(Miss::Final(Failure::new(Kind::TooLarge, format!("{error} is more than this node takes"))))
            }
            Err(error) => Err(Miss::Next(miss(&error))),
        }
    }

    async fn authorization(&self, server: &Server, pass: Pass) -> Result<Option<String>, Miss> {
        let (Some(user), Some(file)) = (&self.who.user, &self.password_file) else { return Ok(None) };
        match pass {
            Pass::Nobody => Ok(None),
            Pass::Basic => {
                let password = self.password(file).await?;
                let encoded = STANDARD.encode(format!("{user}:{password}"));
                self.keep_secret(&encoded);
                Ok(Some(format!("Basic {encoded}")))
            }
            Pass::Token(path) => {
                let known = self.token().clone();
                match known {
                    Token::Is(token) => Ok(Some(token)),
                    Token::NotNeeded => Ok(None),
                    Token::NotAsked => {
                        let password = self.password(file).await?;
                        self.authenticate(server, path, user, &password).await
                    }
                }
            }
        }
    }

    async fn authenticate(
        &self,
        server: &Server,
        path: &str,
        user: &str,
        password: &str,
    ) -> Result<Option<String>, Miss> {
        let body = json!({"name": user, "password": password});
        let request = Request::json(Method::POST, format!("{path}/auth/authenticate"), &body);
        let response = match self.client.send(server, request).await {
            Ok(response) => response,
            Err(error) => return Err(Miss::Next(miss(&error))),
        };
        // Of any other answer not a word: it may hold the password in a form of its own.
        let all = in_json(&response).unwrap_or_default();
        let said = super::entry::cut(self.hidden(&all).as_bytes());
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = match answer.get("token").and_then(Value::as_str) {
            Some(token) if response.status.is_success() => {
                self.keep_secret(token);
                Token::Is(token.to_owned())
            }
            _ if all.contains("authentication is not enabled") => Token::NotNeeded,
            _ if all.contains("authentication failed") => {
                return Err(Miss::Final(self.who.bad_password(&server.to_string(), &said)));
            }
            _ => {
                let status = response.status.as_u16();
                return Err(Miss::Next(format!("{server}: no token for user `{user}`: {status}: {said}")));
            }
        };
        self.token().clone_from(&token);
        Ok(if let Token::Is(token) = token { Some(token) } else { None })
    }

    async fn password(&self, file: &Path) -> Result<String, Miss> {
        let path = file.to_path_buf();
        let read = self.env.blocking(move || std::fs::read_to_string(path)).await;
        let wrong = |why: String| {
            Miss::Final(Failure::other(format!("cluster.etcd.password_file = {}: {why}", file.display())))
        };
        let text = read.map_err(|error| wrong(error.to_string()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        self.keep_secret(password);
        Ok(password.to_owned())
    }

    fn keep_secret(&self, secret: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if !secret.is_empty() && !secrets.iter().any(|known| known == secret) {
            if secrets.len() == SECRETS_MAX {
                secrets.remove(0);
            }
            secrets.push(secret.to_owned());
        }
    }

    /// The text without what is secret.
    pub(super) fn hidden(&self, text: &str) -> String {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The long ones first: a short one may be a part of them.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// What an answer that is no success says, for words: without what is secret.
    pub(super) fn said(&self, response: &Response) -> String {
        let text = in_json(response).unwrap_or_else(|| String::from_utf8_lossy(&response.body).trim().to_owned());
        super::entry::cut(self.hidden(&text).as_bytes())
    }

    /// A token that etcd does not know is not used again.
    fn forget(&self, authorization: Option<&String>) {
        let mut token = self.token();
        let same = match &*token {
            Token::Is(known) => authorization == Some(known),
            Token::NotNeeded | Token::NotAsked => true,
        };
        if same {
            *token = Token::NotAsked;
        }
    }

    fn token(&self) -> std::sync::MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// etcd asks for a user where this node thought that none is needed: it may have been switched on since.
    pub(super) fn ask_for_token_again(&self) {
        self.forget(None);
    }
}

/// The order in which the servers are asked, and what came of it.
struct Tries<'a> {
    ask: &'a Ask,
    begun: Instant,
    first: usize,
    done: usize,
    reasons: Vec<String>,
}

impl<'a> Tries<'a> {
    fn new(ask: &'a Ask) -> Self {
        Self { ask, begun: Instant::now(), first: *ask.last_good.borrow(), done: 0, reasons: Vec::new() }
    }

    fn next(&mut self) -> Option<(usize, &'a Server)> {
        let count = self.ask.servers.len();
        if self.done == count || self.begun.elapsed() >= QUESTION_MAX {
            return None;
        }
        let number = (self.first + self.done) % count;
        self.done += 1;
        Some((number, &self.ask.servers[number]))
    }

    fn missed(&mut self, why: String) {
        self.reasons.push(why);
    }

    fn failure(self) -> Failure {
        // The next question begins with another one: those that are behind silent ones get their turn.
        self.ask.good((self.first + 1) % self.ask.servers.len().max(1));
        let mut reasons = self.reasons;
        reasons.extend(self.ask.servers.iter().enumerate().filter_map(|(number, server)| {
            let count = self.ask.servers.len();
            let turn = (number + count - self.first) % count;
            (turn >= self.done).then(|| format!("{server}: not asked for lack of time"))
        }));
        reasons.sort();
        Failure::unanswered(&reasons)
    }
}

fn miss(error: &HttpError) -> String {
    let text = error.to_string();
    let hint = hint(&text);
    text + hint
}

/// What an answer that is no success says, to look for words in it.
pub(super) fn said(response: &Response) -> String {
    in_json(response).unwrap_or_else(|| response.text())
}

fn in_json(response: &Response) -> Option<String> {
    let answer: Value = serde_json::from_slice(&response.body).ok()?;
    let inner = answer.get("error").filter(|error| error.is_object()).unwrap_or(&answer);
    ["message", "error"].iter().find_map(|field| inner.get(*field).and_then(Value::as_str)).map(str::to_owned)
}

/// Whether etcd does not take the token that was sent.
fn is_stale(response: &Response) -> bool {
    if response.status.is_success() {
        return false;
    }
    let said = said(response);
    said.contains("invalid auth token") || said.contains("revision of auth store is old")
}

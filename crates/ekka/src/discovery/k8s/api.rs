//! Requests to the API servers: each in turn, with the token where it may go, and pages of lists.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::ask::Ask;
use super::failure::{Asked, Failure, judge};
use super::objects::{List, Metadata, NAME_MAX, Object};
use super::speaker::Speaker;
use super::token::{Token, TokenSource};
use crate::config::K8s;
use crate::env::Env;
use crate::http::{Client, HttpError, Limits, Lines, Request, Response, Server, TlsFiles};

/// Objects of one page of a list.
const PAGE: usize = 250;
/// Pages of one list; what is beyond is no list of one Service.
const PAGES_MAX: usize = 64;
/// How often a list may begin anew because its pages went stale.
const RESTARTS_MAX: usize = 2;
/// Put off for so long or less, a request waits; for longer, it fails.
const WAITS_AT_MOST: Duration = Duration::from_secs(1);

/// The API servers.
pub(super) struct Api {
    env: Env,
    client: Client,
    servers: Vec<Server>,
    /// Which server is asked first: the one that answered last, or the next one where it did not answer in time.
    first: AtomicUsize,
    token: TokenSource,
    pub(super) namespace: String,
    /// No request before that time, as a server said, in its words.
    put_off: Mutex<Option<(Instant, String)>>,
}

/// How an answer is to be read.
#[derive(Clone, Copy)]
enum Way {
    Whole,
    Lines,
}

/// An answer of status 200.
enum Answer {
    Whole(Response),
    Lines(Lines),
}

/// An answer of any status.
enum Reply {
    Good(Answer),
    Other(Response),
}

impl Api {
    /// # Errors
    /// An address of a server is none, in words.
    pub(super) fn new(env: Env, options: &K8s, further: Option<Server>) -> Result<Self, String> {
        let servers: Result<Vec<Server>, String> =
            options.apiservers.iter().map(|url| Server::parse(url, None)).collect();
        let tls = TlsFiles { cacertfile: options.cacertfile.clone(), identity: None };
        Ok(Self {
            client: Client::new(env.clone(), tls, Limits::default()),
            env,
            servers: servers
                .map_err(|why| format!("cluster.k8s.apiserver: {why}"))?
                .into_iter()
                .chain(further)
                .collect(),
            first: AtomicUsize::new(0),
            token: TokenSource { file: options.token_file.clone(), insecure: options.insecure_token },
            namespace: options.namespace.clone(),
            put_off: Mutex::new(None),
        })
    }

    /// What is to be said of servers that are sent no token, or the token in the clear.
    pub(super) fn clear_note(&self) -> Option<String> {
        let far = self.servers.iter().find(|server| !server.is_tls() && !server.is_loopback())?;
        Some(match (&self.token.file, self.token.insecure) {
            (None, _) => format!("{far} is asked without a token, and its answers could be forged on the way"),
            (Some(_), true) => {
                format!("{far} is sent the token in the clear, as cluster.k8s.insecure_token = on allows")
            }
            (Some(_), false) => format!(
                "{far} is asked without the token, which would go in the clear: use https://, or \
                 cluster.k8s.insecure_token = on"
            ),
        })
    }

    /// One object, which must be the one that was asked for.
    pub(super) async fn object<T: DeserializeOwned + Object>(&self, ask: &Ask) -> Result<T, Failure> {
        let (server, response) = self.whole(ask).await?;
        let object: T = read(&server, ask, &response.body)?;
        if object.metadata().name != ask.name {
            return Err(odd(&server, ask, &format!("is no {} of that name", ask.kind)));
        }
        Ok(object)
    }

    /// A whole list, page by page, put together by a function. Pages that went stale begin it anew.
    pub(super) async fn list<T: DeserializeOwned + Object, A: Default>(
        &self,
        ask: &Ask,
        put: fn(&mut A, T),
    ) -> Result<(Metadata, A), Failure> {
        let mut restarts = 0;
        loop {
            match self.pages(ask, put).await {
                Err(Failure::Gone(_)) if restarts < RESTARTS_MAX => restarts += 1,
                other => return other,
            }
        }
    }

    async fn pages<T: DeserializeOwned + Object, A: Default>(
        &self,
        ask: &Ask,
        put: fn(&mut A, T),
    ) -> Result<(Metadata, A), Failure> {
        let (mut all, mut next) = (A::default(), String::new());
        for _ in 0..PAGES_MAX {
            let (server, response) = self.whole(&ask.page(PAGE, &next)).await?;
            let page: List<T> = read(&server, ask, &response.body)?;
            if !page.kind.ends_with("List") && page.metadata.resource_version.is_empty() {
                return Err(odd(&server, ask, "is no list"));
            }
            if page.items.iter().any(|item| item.metadata().name.len() > NAME_MAX) {
                return Err(odd(&server, ask, &format!("names an object with more than {NAME_MAX} bytes")));
            }
            page.items.into_iter().for_each(|item| put(&mut all, item));
            if page.metadata.next.is_empty() {
                return Ok((page.metadata, all));
            }
            next = page.metadata.next;
        }
        Err(Failure::Odd(format!("the list of {} has more than {PAGES_MAX} pages", ask.resource)))
    }

    /// The lines of a watch, and who sends them.
    pub(super) async fn watch(&self, ask: &Ask) -> Result<(Speaker, Lines), Failure> {
        match self.each(ask, Way::Lines).await? {
            (server, Answer::Lines(lines)) => Ok((server, lines)),
            (server, Answer::Whole(_)) => Err(Failure::Odd(format!("{server}: no lines"))),
        }
    }

    async fn whole(&self, ask: &Ask) -> Result<(Speaker, Response), Failure> {
        let answer = match self.each(ask, Way::Whole).await {
            Err(Failure::Busy(_, wait)) if wait <= WAITS_AT_MOST => {
                tokio::time::sleep(wait).await;
                self.each(ask, Way::Whole).await
            }
            other => other,
        };
        match answer? {
            (server, Answer::Whole(response)) => Ok((server, response)),
            (server, Answer::Lines(_)) => Err(Failure::Odd(format!("{server}: no whole answer"))),
        }
    }

    /// Asks the servers in turn until one has a word on it.
    async fn each(&self, ask: &Ask, way: Way) -> Result<(Speaker, Answer), Failure> {
        self.may_ask()?;
        let mut failed = Vec::new();
        let count = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        for at in (0..count).map(|n| (first + n) % count) {
            let server = &self.servers[at];
            let turn = Turn { first: &self.first, next: (at + 1) % count };
            let result = self.one(ask, server, way).await;
            drop(turn);
            if let Err(Failure::Unreachable(why)) = result {
                failed.push(why);
                continue;
            }
            self.first.store(at, Ordering::Relaxed);
            if let Err(failure) = &result {
                self.note_busy(failure);
            }
            return result;
        }
        Err(Failure::Unreachable(failed.join("; ")))
    }

    async fn one(&self, ask: &Ask, server: &Server, way: Way) -> Result<(Speaker, Answer), Failure> {
        let speaker = |token: &Token| Speaker::new(server.to_string(), token.secret());
        let mut token = self.token.token(&self.env, server).await;
        let mut response = match self.request(ask, server, way, &token).await? {
            Reply::Good(answer) => return Ok((speaker(&token), answer)),
            Reply::Other(response) => response,
        };
        if response.status == StatusCode::UNAUTHORIZED {
            // Tokens are rotated under way: what the file holds now may be another one.
            let fresh = self.token.token(&self.env, server).await;
            if fresh.value != token.value {
                token = fresh;
                response = match self.request(ask, server, way, &token).await? {
                    Reply::Good(answer) => return Ok((speaker(&token), answer)),
                    Reply::Other(response) => response,
                };
            }
        }
        let speaker = speaker(&token);
        let asked = Asked { server: &speaker, namespace: &self.namespace, ask, token: &token.words };
        let body = String::from_utf8_lossy(&response.body);
        Err(judge(asked, response.status.as_u16(), retry_after(&response), &body))
    }

    async fn request(&self, ask: &Ask, server: &Server, way: Way, token: &Token) -> Result<Reply, Failure> {
        let request = Request::get(ask.target(&self.namespace)).authorized(token.value.clone());
        let unreachable = |error: HttpError| Failure::Unreachable(error.to_string());
        match way {
            Way::Lines => match self.client.lines(server, request).await.map_err(unreachable)? {
                Ok(lines) => Ok(Reply::Good(Answer::Lines(lines))),
                Err(response) => Ok(Reply::Other(response)),
            },
            Way::Whole => match self.client.send(server, request).await.map_err(unreachable)? {
                response if response.status.is_success() => Ok(Reply::Good(Answer::Whole(response))),
                response => Ok(Reply::Other(response)),
            },
        }
    }

    /// # Errors
    /// A server has put this node off, and the time is not over.
    fn may_ask(&self) -> Result<(), Failure> {
        let mut put_off = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match put_off.as_ref() {
            Some((until, text)) if *until > now => Err(Failure::Busy(text.clone(), *until - now)),
            _ => {
                *put_off = None;
                Ok(())
            }
        }
    }

    fn note_busy(&self, failure: &Failure) {
        if let Failure::Busy(text, wait) = failure {
            let mut put_off = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
            *put_off = Some((Instant::now() + *wait, text.clone()));
        }
    }
}

/// A server is being asked. Whoever gives up meanwhile begins with the next one: those that stand behind silent ones get
/// their turn, however little time there is.
struct Turn<'a> {
    first: &'a AtomicUsize,
    next: usize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.first.store(self.next, Ordering::Relaxed);
    }
}

/// The time that a server asks for; a date is not read.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn read<T: DeserializeOwned>(server: &Speaker, ask: &Ask, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| odd(server, ask, &format!("is not read: {}", server.words(&error.to_string()))))
}

/// What no API server answers: nothing may be concluded from it, least of all that there is nobody else.
fn odd(server: &Speaker, ask: &Ask, what: &str) -> Failure {
    Failure::Odd(format!("{server}: the answer to {ask} {what}: is this the API server?"))
}

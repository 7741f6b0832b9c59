//! The sockets: who may connect, what a crash leaves, the token, probes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ekka::admin::{ServeError, Token, link_socket, serve_health, serve_tcp, serve_unix};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::fixture::{GivenNode, name, view};
use super::http::ask;
use super::{Server, state};

const TOKEN: &str = "0123456789abcdef-a-token";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

async fn serve(path: &Path, group: Option<&str>) -> Result<CancellationToken, ServeError> {
    let shutdown = CancellationToken::new();
    serve_unix(state(GivenNode::new(view()), &shutdown), path, group, shutdown.clone()).await.map(|_| shutdown)
}

#[tokio::test]
async fn the_socket_is_for_its_owner_or_for_a_group() {
    let dir = TempDir::new().expect("a directory");
    let (own, shared) = (dir.path().join("own"), dir.path().join("shared"));
    serve(&own, None).await.expect("serves");
    let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(dir.path()).expect("is there")).to_string();
    serve(&shared, Some(&group)).await.expect("serves");
    assert_eq!((mode(&own), mode(&shared)), (0o600, 0o660));
    let refused = serve(&dir.path().join("x"), Some("no-such-group")).await.expect_err("there is none");
    assert!(refused.to_string().contains("no-such-group"), "{refused}");
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced_and_a_living_one_is_not() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    assert!(path.exists(), "a crash leaves the file");
    let shutdown = serve(&path, None).await.expect("replaces it");
    let refused = serve(&path, None).await.expect_err("somebody answers");
    assert!(matches!(&refused, ServeError::InUse(named) if *named == path), "{refused}");
    shutdown.cancel();
    let gone = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the file goes with its server");
    std::fs::write(&path, "precious").expect("writes");
    let refused = serve(&path, None).await.expect_err("that is no socket");
    assert!(matches!(refused, ServeError::NotASocket(_)), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "precious");
}

#[tokio::test]
async fn a_path_that_does_not_fit_is_refused_in_words() {
    let refused = serve(Path::new(&format!("/tmp/{}", "x".repeat(120))), None).await.expect_err("too long");
    assert!(refused.to_string().contains("takes 107"), "{refused}");
}

#[tokio::test]
async fn tcp_takes_the_token_and_nothing_else() {
    let shutdown = CancellationToken::new();
    let state = state(GivenNode::new(view()), &shutdown);
    let token = Token::new(TOKEN).expect("long enough");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let served = serve_tcp(state, listen, token, None, shutdown.clone()).await.expect("serves");
    let addr = served.addr.expect("TCP");
    let get = async |headers: &str| {
        ask(TcpStream::connect(addr).await.expect("connects"), "GET /v1/status", headers, "").await
    };
    for wrong in [
        String::new(),
        "Authorization: Bearer wrong\r\n".into(),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
    ] {
        let answer = get(&wrong).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (401, json!("unauthorized")), "{wrong}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    assert_eq!(get(&format!("Authorization: Bearer {TOKEN}\r\n")).await.status, 200);
    assert!(Token::new("short").is_none());
}

#[tokio::test]
async fn probes_need_no_token_and_give_nothing_else() {
    let shutdown = CancellationToken::new();
    let state = state(GivenNode::new(view()), &shutdown);
    let listen = "127.0.0.1:0".parse().expect("an address");
    let served = serve_health(state, listen, shutdown.clone()).await.expect("serves");
    let addr = served.addr.expect("TCP");
    for (line, status) in [
        ("GET /livez", 200),
        ("GET /readyz", 200),
        ("GET /metrics", 200),
        ("GET /v1/status", 404),
        ("POST /v1/stop", 404),
    ] {
        let answer = ask(TcpStream::connect(addr).await.expect("connects"), line, "", "").await;
        assert_eq!(answer.status, status, "{line}");
    }
}

#[tokio::test]
async fn an_end_waits_for_no_reader() {
    let server = Server::of(GivenNode::new(view())).await;
    let silent = server.connect().await;
    server.shutdown.cancel();
    let path = server.dir.path().join("s");
    let gone = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("ends although a client is connected");
    drop(silent);
}

#[test]
fn a_link_points_to_the_socket_and_goes_with_its_agent() {
    let dir = TempDir::new().expect("a directory");
    let runtime = dir.path().join("ekka");
    let socket = dir.path().join("s");
    let refused = link_socket(&["/proc/nothing".into()], &name(1), &socket).expect_err("no directory takes it");
    assert!(refused.to_string().contains("/proc/nothing"), "{refused}");
    let link = link_socket(&["/proc/nothing".into(), runtime.clone()], &name(1), &socket).expect("the second takes it");
    let path = runtime.join("ekka@10.0.0.1.sock");
    assert_eq!((link.path(), std::fs::read_link(&path).expect("a link")), (path.as_path(), socket.clone()));
    let newer = link_socket(&[runtime], &name(1), &dir.path().join("other")).expect("replaces it");
    drop(link);
    assert!(std::fs::read_link(&path).is_ok(), "the newer one's link stays");
    drop(newer);
    assert!(std::fs::read_link(&path).is_err());
}

//! How a real etcd is reached: which server, as whom, over TLS; and the words where it is not.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::etcd_support::{Etcd, Own};

async fn error(own: &Own) -> String {
    let error = own.strategy.discover().await.expect_err("it fails");
    println!("{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ekka_spec_10_17_the_other_members_are_asked_when_one_is_killed_and_each_reason_is_told() {
    let mut etcd = Etcd::three();
    let own = Own::new(1, &etcd.urls(), &[]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    etcd.kill(0);
    etcd.wait();
    own.sees(&["n1@10.0.0.1"]).await;
    // Longer than the time to live: the beats go on at another member.
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..25 {
        ticks.tick().await;
        assert_eq!(own.names().await, ["n1@10.0.0.1"]);
    }
    etcd.kill(1);
    let text = error(&own).await;
    for member in 0..3 {
        assert!(text.contains(&etcd.url(member)), "{text}");
    }
    assert!(text.contains("refused") && text.contains("cluster.etcd.server"), "{text}");
    etcd.run(0);
    etcd.run(1);
    own.sees(&["n1@10.0.0.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_and_password_are_used_and_what_they_lack_is_told() {
    let etcd = Etcd::start();
    let password = etcd.folder().join("password");
    std::fs::write(&password, "secret-1\n").expect("a file");
    let file = password.to_str().expect("UTF-8").to_owned();
    let user: [(&str, &str); 2] = [("cluster.etcd.username", "ekka"), ("cluster.etcd.password_file", &file)];
    let early = Own::new(1, &etcd.url(0), &user);
    let notes = early.found().await.notes;
    assert!(notes.iter().any(|note| note.contains("has no effect")), "{notes:?}");
    for words in [
        &["user", "add", "root:root"][..],
        &["user", "add", "ekka:secret-1"],
        &["role", "add", "cluster"],
        &["role", "grant-permission", "cluster", "readwrite", "--prefix=true", "ekkacl/ekka/"],
        &["user", "grant-role", "ekka", "cluster"],
        &["auth", "enable"],
    ] {
        etcd.ctl(words);
    }
    let nobody = error(&Own::new(2, &etcd.url(0), &[])).await;
    assert!(nobody.contains("cluster.etcd.username") && nobody.contains("client certificate"), "{nobody}");
    let own = Own::new(1, &etcd.url(0), &user).run();
    own.sees(&["n1@10.0.0.1"]).await;
    own.strategy.claim(&own.offer(3)).await.expect("the id is decided");
    // A change of the rights makes all tokens old.
    etcd.ctl(&["--user", "root:root", "role", "add", "another"]);
    own.sees(&["n1@10.0.0.1"]).await;
    early.sees(&["n1@10.0.0.1"]).await;
    let elsewhere = [user[0], user[1], ("cluster.name", "other")];
    let denied = error(&Own::new(3, &etcd.url(0), &elsewhere)).await;
    assert!(denied.contains("`ekka`") && denied.contains("ekkacl/other/"), "{denied}");
    std::fs::write(&password, "wrong").expect("a file");
    let wrong = error(&Own::new(4, &etcd.url(0), &user)).await;
    assert!(wrong.contains("`ekka`") && wrong.contains("password_file"), "{wrong}");
    std::fs::remove_file(&password).expect("it was there");
    let missing = error(&Own::new(5, &etcd.url(0), &user)).await;
    assert!(missing.contains(&file), "{missing}");
}

fn openssl(folder: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(folder).output().expect("openssl is there");
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority with a certificate for etcd and one for its clients.
fn certificates(folder: &Path, host: &str) {
    openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca");
    for (name, usage) in [("server", "serverAuth,clientAuth"), ("client", "clientAuth")] {
        openssl(folder, &format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let extensions = format!("subjectAltName=IP:{host}\nextendedKeyUsage={usage}\n");
        std::fs::write(folder.join(format!("{name}.ext")), extensions).expect("a file");
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
            ),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_client_certificates_works_and_what_is_wrong_with_them_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let process = std::process::id();
    let host = format!("127.{}.{}.250", process / 254 % 254 + 1, process % 254 + 1);
    certificates(folder.path(), &host);
    let (ca, server, server_key) = (path("ca.pem"), path("server.pem"), path("server.key"));
    let words = ["--cert-file", &server, "--key-file", &server_key, "--trusted-ca-file", &ca, "--client-cert-auth"];
    let etcd = Etcd::start_tls(&words, [&ca, &path("client.pem"), &path("client.key")]);
    let (client, client_key) = (path("client.pem"), path("client.key"));
    let all = [
        ("cluster.etcd.ssl.cacertfile", ca.as_str()),
        ("cluster.etcd.ssl.certfile", client.as_str()),
        ("cluster.etcd.ssl.keyfile", client_key.as_str()),
    ];
    let own = Own::new(1, &etcd.url(0), &all).run();
    own.sees(&["n1@10.0.0.1"]).await;
    let without = error(&Own::new(2, &etcd.url(0), &all[..1])).await;
    assert!(without.contains("cluster.etcd.ssl.certfile"), "{without}");
    openssl(
        folder.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other",
    );
    let other = path("other.pem");
    let stranger = error(&Own::new(3, &etcd.url(0), &[("cluster.etcd.ssl.cacertfile", &other), all[1], all[2]])).await;
    assert!(stranger.contains("cluster.etcd.ssl.cacertfile"), "{stranger}");
    let plain = etcd.url(0).replace("https", "http");
    let plain = error(&Own::new(4, &plain, &[])).await;
    assert!(plain.contains("write https://"), "{plain}");
    // The certificate is replaced while the node runs.
    std::fs::copy(folder.path().join("other.pem"), folder.path().join("client.pem")).expect("a file");
    std::fs::copy(folder.path().join("other.key"), folder.path().join("client.key")).expect("a file");
    let replaced = error(&own).await;
    assert!(replaced.contains("cluster.etcd.ssl.certfile"), "{replaced}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_off_and_a_server_that_is_no_etcd_are_named() {
    let etcd = Etcd::start_with("http", &["--enable-grpc-gateway=false"]);
    let off = error(&Own::new(1, &etcd.url(0), &[])).await;
    assert!(off.contains("--enable-grpc-gateway=false"), "{off}");
    let v2 = error(&Own::new(1, &etcd.url(0), &[("cluster.etcd.version", "v2")])).await;
    assert!(v2.contains("--enable-v2") && v2.contains("cluster.etcd.version = v3"), "{v2}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 1024]).expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").expect("an answer");
        }
    });
    let none = error(&Own::new(1, &url, &[])).await;
    assert!(none.contains("is no etcd") && none.contains("cluster.etcd.server"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_the_entry_out_is_bounded_where_etcd_is_silent() {
    let mut etcd = Etcd::start();
    let mut own = Own::new(1, &etcd.url(0), &[]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    own.crash().await;
    etcd.freeze(0);
    let begun = std::time::Instant::now();
    let error = own.strategy.unregister().await.expect_err("nobody answers");
    println!("{error} after {:.2?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(4));
    etcd.kill(0);
    let error = own.strategy.unregister().await.expect_err("nobody is there");
    assert!(error.contains("refused"), "{error}");
}

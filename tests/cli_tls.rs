//! The real program behind TLS: a client of another library, a certificate that changes, clients that have none.

mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use program::{code, kyrodb, said};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).expect("valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// Writes the server's certificate, which is for `localhost`, and its key.
fn issue(by: &Authority, dir: &Path) {
    issue_to("server", by, dir);
}

/// Writes `{who}.pem` and `{who}.key`.
fn issue_to(who: &str, by: &Authority, dir: &Path) {
    issue_for(who, by, dir, (1975, 4096));
}

/// From the beginning of one year to that of another.
fn issue_for(who: &str, by: &Authority, dir: &Path, (from, until): (i32, i32)) {
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("valid");
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let certificate = params.signed_by(&own, by).expect("signed").pem();
    fs::write(dir.join(who).with_extension("key"), own.serialize_pem()).expect("written");
    fs::write(dir.join(who).with_extension("pem"), certificate).expect("written");
}

struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(dir: &Path, more: &[&str]) -> Server {
    start_logged(dir, more, "error", Stdio::inherit())
}

fn start_logged(dir: &Path, more: &[&str], level: &str, log: Stdio) -> Server {
    let mut process = kyrodb()
        .args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--disable-http-log"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .arg("--tls-certificate")
        .arg(dir.join("server.pem"))
        .arg("--tls-key")
        .arg(dir.join("server.key"))
        .args(more)
        .env("RUST_LOG", level)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.strip_prefix("ready https://").and_then(|rest| rest.split(' ').next());
    Server { process, address: address.expect("a ready line").to_owned() }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn client(server: &Server, trusts: &Authority) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.der().clone()).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("valid");
    let stream = TcpStream::connect(&server.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    StreamOwned::new(connection, stream)
}

/// One request; the answer until the server closes, and says so.
fn ask(client: &mut Client, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = body.len();
    write!(
        client,
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )?;
    client.write_all(body)?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn values_small_and_large_travel_sealed() {
    let (dir, authority) = (tempfile::tempdir().expect("a directory"), authority());
    issue(&authority, dir.path());
    let server = start(dir.path(), &[]);
    for (key, len) in [(1, 100), (2, 100_000), (3, 5_000_000)] {
        let value: Vec<u8> = (0..len).map(|at: usize| (at * 31 % 251) as u8).collect();
        let put = ask(&mut client(&server, &authority), &format!("PUT /v1/kv/default/{key}"), &value);
        assert!(put.expect("answered").starts_with(b"HTTP/1.1 201"));
        let got = ask(&mut client(&server, &authority), &format!("GET /v1/kv/default/{key}"), b"");
        let got = got.expect("answered, to an end that the server has sealed too");
        assert!(got.starts_with(b"HTTP/1.1 200") && got.ends_with(&value), "{len}");
    }
    // Many requests in few records, and answers in order.
    let mut piped = client(&server, &authority);
    piped.write_all("GET /v1/get_fast/1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200).as_bytes()).expect("sent");
    let answers = ask(&mut piped, "GET /health", b"").expect("answered");
    assert_eq!(answers.windows(15).filter(|part| part == b"HTTP/1.1 200 OK").count(), 201);
}

#[test]
fn the_doctor_looks_at_certificate_and_key_as_a_start_does() {
    let (dir, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let dir = dir.path();
    issue(&authority, dir);
    issue_to("other", &authority, dir);
    let doctor = |key: &str| {
        let mut command = kyrodb();
        command
            .args(["doctor", "-o", "json", "--listen", "127.0.0.1:0", "--shards", "1", "--data-dir"])
            .arg(dir);
        command.arg("--tls-certificate").arg(dir.join("server.pem")).arg("--tls-key").arg(dir.join(key));
        let output = command.output().expect("it runs");
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("a list");
        let row = rows.into_iter().find(|row| row["check"] == "tls").expect("it was looked at");
        (row["verdict"].as_str().expect("text").to_owned(), code(&output))
    };
    assert_eq!(doctor("server.key").0, "good");
    assert_eq!(doctor("other.key"), ("bad".to_owned(), 1));
    for years in [(2000, 2001), (4000, 4001)] {
        issue_for("server", &authority, dir, years);
        assert_eq!(doctor("server.key").0, "warning", "{years:?}");
    }
}

/// It is served, as clients that do not look may want it; and who runs the server is told why others do not.
#[test]
fn a_certificate_that_is_out_of_date_is_told_at_the_start_and_when_it_comes() {
    let (dir, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let (dir, log) = (dir.path(), dir.path().join("log"));
    issue_for("server", &authority, dir, (2000, 2001));
    let logged = std::fs::File::create(&log).expect("a log");
    let server = start_logged(dir, &[], "warn", logged.into());
    let becomes = |part: &str, wanted: usize| {
        let until = Instant::now() + Duration::from_secs(20);
        let said = || fs::read_to_string(&log).expect("a log");
        while said().matches(part).count() != wanted {
            assert!(Instant::now() < until, "{part}: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    becomes("it expired on 2001-01-01", 1);
    issue_for("server", &authority, dir, (4000, 4001));
    becomes("it is not valid before 4000-01-01", 1);
    issue(&authority, dir);
    let until = Instant::now() + Duration::from_secs(20);
    while ask(&mut client(&server, &authority), "GET /health", b"").is_err() {
        assert!(Instant::now() < until, "the good one is not served");
        std::thread::sleep(Duration::from_millis(100));
    }
    becomes("clients refuse the certificate", 2);
}

#[test]
fn plain_text_and_strangers_get_nothing_and_the_server_goes_on() {
    let (dir, authority, other) = (tempfile::tempdir().expect("a directory"), authority(), self::authority());
    issue(&authority, dir.path());
    fs::write(dir.path().join("ca.pem"), other.pem()).expect("written");
    let ca = dir.path().join("ca.pem");
    let server = start(dir.path(), &[]);
    let mut plain = TcpStream::connect(&server.address).expect("it listens");
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{answer:?}");
    assert!(ask(&mut client(&server, &other), "GET /health", b"").is_err(), "it shows another's certificate");
    assert!(ask(&mut client(&server, &authority), "GET /health", b"").is_ok());
    drop(server);

    let server = start(dir.path(), &["--tls-client-ca", ca.to_str().expect("letters")]);
    assert!(ask(&mut client(&server, &authority), "GET /health", b"").is_err(), "no certificate was shown");
}

#[test]
fn a_new_certificate_is_served_without_a_restart() {
    let (dir, first, second) = (tempfile::tempdir().expect("a directory"), authority(), authority());
    issue(&first, dir.path());
    let server = start(dir.path(), &[]);
    let mut open = client(&server, &first);
    open.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    issue(&second, dir.path());
    let until = Instant::now() + Duration::from_secs(20);
    while ask(&mut client(&server, &second), "GET /health", b"").is_err() {
        assert!(Instant::now() < until, "the new certificate is not served");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(ask(&mut open, "GET /health", b"").is_ok(), "who was there goes on");
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    issue(&authority(), dir.path());
    fs::write(dir.path().join("server.pem"), "nothing").expect("written");
    let refused = kyrodb()
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .arg("--tls-certificate")
        .arg(dir.path().join("server.pem"))
        .arg("--tls-key")
        .arg(dir.path().join("server.key"))
        .output()
        .expect("it runs");
    assert_eq!(code(&refused), 2, "{}", said(&refused));
    assert!(said(&refused).contains("server.pem"), "{}", said(&refused));
}

/// Runs a command in the directory of the certificates.
fn command(server: &Server, dir: &Path, line: &str) -> Output {
    let port = server.address.rsplit_once(':').expect("a port").1;
    let url = format!("https://localhost:{port}");
    kyrodb().current_dir(dir).args(line.split(' ')).args(["--url", &url]).output().expect("it runs")
}

#[test]
fn the_commands_speak_tls_both_ways() {
    const RECORDS: usize = 30_000;
    let (dir, authority, other) = (tempfile::tempdir().expect("a directory"), authority(), self::authority());
    let dir = dir.path();
    issue(&authority, dir);
    issue_to("client", &authority, dir);
    fs::write(dir.join("ca.pem"), authority.pem()).expect("written");
    fs::write(dir.join("other.pem"), other.pem()).expect("written");
    let lines = |at: usize| format!("{{\"key\":{at},\"value\":\"{at:0100}\"}}\n");
    fs::write(dir.join("records.ndjson"), (0..RECORDS).map(lines).collect::<String>()).expect("written");
    let server = start(dir, &["--tls-client-ca", dir.join("ca.pem").to_str().expect("letters")]);
    let known = "--ca-file ca.pem --client-certificate client.pem --client-key client.key";

    let put = command(&server, dir, &format!("put 1 one {known}"));
    assert_eq!(code(&put), 0, "{}", said(&put));
    let got = command(&server, dir, &format!("get 1 {known}"));
    assert_eq!((code(&got), got.stdout.as_slice()), (0, &b"one"[..]), "{}", said(&got));
    // Both directions of one connection are busy at the same time.
    let imported = command(&server, dir, &format!("import records.ndjson -o json {known}"));
    let is_straight = said(&imported).contains("\"resent_uploads\":0");
    assert!(code(&imported) == 0 && is_straight, "{}", said(&imported));
    let same = command(&server, dir, &format!("import records.ndjson --verify {known}"));
    assert_eq!(code(&same), 0, "{}", said(&same));
    let exported = command(&server, dir, &format!("export {known}"));
    assert_eq!(exported.stdout.split(|byte| *byte == b'\n').count(), RECORDS + 1, "{}", said(&exported));
    let backup = command(&server, dir, &format!("backup --to backups --data-dir data {known}"));
    assert_eq!(code(&backup), 0, "{}", said(&backup));

    for (what, options, wanted) in [
        ("its signature is not believed", "--client-certificate client.pem --client-key client.key", 5),
        ("nor by another", "--ca-file other.pem --client-certificate client.pem --client-key client.key", 5),
        ("no certificate is shown", "--ca-file ca.pem", 5),
        ("a key of another", "--ca-file ca.pem --client-certificate client.pem --client-key server.key", 1),
        ("no certificate in it", "--ca-file server.key", 1),
        ("no such file", "--ca-file nothing.pem", 1),
        ("half of an identity", "--ca-file ca.pem --client-key client.key", 2),
    ] {
        let refused = command(&server, dir, &format!("get 1 {options}"));
        assert_eq!(code(&refused), wanted, "{what}: {}", said(&refused));
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
    }
    let bench = command(&server, dir, &format!("bench kv {known}"));
    assert!(code(&bench) == 2 && said(&bench).contains("no TLS"), "{}", said(&bench));
}

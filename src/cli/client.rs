//! A server seen by the commands: single requests, and answers that stream in.
//!
//! Transport is ureq. Every status of 400 and above becomes [`Refused`] here, so that a
//! command only ever sees answers that it asked for.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response};

use super::api_key::ApiKeyLine;
use super::args::{ServerArgs, TargetArgs, resolve};
use super::duplex::Sealing;
use super::failure::{Failure, Refused, UsageError};
use super::trust::Trust;
use crate::limits;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the server takes for the largest single request under full load.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A page of a scan: its values, quoted, and their frames.
const JSON_BYTES_MAX: u64 = 4 * limits::BODY_BYTES_MAX as u64;

/// `http://host:port` or `https://host:port`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Under TLS.
    pub is_sealed: bool,
    /// `host:port`, as it stands in the `Host` header.
    pub authority: String,
}

pub struct Client {
    server: Server,
    /// Where the server is under TLS.
    sealing: Option<Sealing>,
    api_key: ApiKeyLine,
    agent: ureq::Agent,
}

/// An answer with a status below 400, its body still on the way.
pub struct Answer {
    url: String,
    response: Response<ureq::Body>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl Server {
    pub fn parse(url: &str) -> Result<Server, Failure> {
        let wrong = || Failure::Usage(UsageError::Url { url: url.to_owned() });
        let (is_sealed, rest, port) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest, 80),
            (None, Some(rest)) => (true, rest, 443),
            (None, None) => return Err(wrong()),
        };
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(wrong());
        }
        // A colon after the last bracket: `[::1]` has colons, but no port.
        let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        Ok(Server { is_sealed, authority })
    }

    pub fn url(&self) -> String {
        let scheme = if self.is_sealed { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// What its certificate is for.
    fn name(&self) -> Result<ServerName<'static>, Failure> {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        ServerName::try_from(host).map_err(|_| Failure::Usage(UsageError::Url { url: self.url() }))
    }

    pub fn address(&self) -> Result<SocketAddr, Failure> {
        resolve(&self.authority).map_err(|source| self.unreachable(source))
    }

    pub fn unreachable(&self, source: io::Error) -> Failure {
        Failure::Unreachable { url: self.url(), source }
    }
}

impl Client {
    pub fn of(target: &TargetArgs) -> Result<Client, Failure> {
        Client::to(&target.server)
    }

    pub fn to(args: &ServerArgs) -> Result<Client, Failure> {
        let (server, api_key) = (Server::parse(&args.url)?, ApiKeyLine::read(args.api_key_file.as_deref())?);
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT));
        let mut sealing = None;
        if server.is_sealed {
            let trust = Trust::read(args)?;
            config = config.tls_config(trust.of_requests());
            sealing = Some(Sealing { name: server.name()?, config: trust.config() });
        }
        Ok(Client { server, sealing, api_key, agent: config.build().new_agent() })
    }

    /// For those that hold a connection themselves.
    pub fn sealing(&self) -> Option<&Sealing> {
        self.sealing.as_ref()
    }

    /// For those that write their requests themselves.
    pub fn api_key(&self) -> &ApiKeyLine {
        &self.api_key
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, path, headers, ())?)
    }

    pub fn delete(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.send(self.request(Method::DELETE, path, headers, ())?)
    }

    pub fn put(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, Failure> {
        self.send(self.request(Method::PUT, path, headers, body)?)
    }

    pub fn post(&self, path: &str) -> Result<Answer, Failure> {
        self.send(self.request(Method::POST, path, &[], ())?)
    }

    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<Answer, Failure> {
        self.post_json_text(path, body.to_string())
    }

    pub fn post_json_text(&self, path: &str, body: String) -> Result<Answer, Failure> {
        let headers = [("content-type", "application/json")];
        self.send(self.request(Method::POST, path, &headers, body.into_bytes())?)
    }

    fn request<B>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: B,
    ) -> Result<Request<B>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(value) = self.api_key.value() {
            request = request.header("authorization", value);
        }
        // The only input that can fail here is the user's: a host or a content type of odd characters.
        request.body(body).map_err(|_| Failure::Usage(UsageError::Url { url: self.server.url() }))
    }

    fn send(&self, request: Request<impl ureq::AsSendBody>) -> Result<Answer, Failure> {
        let url = request.uri().to_string();
        let response = self.agent.run(request).map_err(|error| self.server.unreachable(error.into_io()))?;
        let answer = Answer { url, response };
        if answer.status() < 400 { Ok(answer) } else { Err(Failure::Refused(answer.into_refused())) }
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The body as it arrives.
    pub fn into_reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }

    pub fn bytes(self) -> Result<Vec<u8>, Failure> {
        let Answer { url, response } = self;
        let limit = limits::VALUE_BYTES_MAX as u64 + 1;
        let body = response.into_body().into_with_config().limit(limit).read_to_vec();
        body.map_err(|error| Failure::Unreachable { url, source: error.into_io() })
    }

    pub fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let Answer { url, response } = self;
        let body = response.into_body().into_with_config().limit(JSON_BYTES_MAX).read_to_vec();
        let body =
            body.map_err(|error| Failure::Unreachable { url: url.clone(), source: error.into_io() })?;
        serde_json::from_slice(&body).map_err(|_| Failure::BadAnswer { url, what: "JSON of another form" })
    }

    fn into_refused(self) -> Refused {
        let status = self.status();
        let retry_after = self.header("retry-after").and_then(|text| text.parse().ok());
        let body = self.bytes().unwrap_or_default();
        refused(status, retry_after.map(Duration::from_secs), &body)
    }
}

/// Reads a problem document; any other body leaves only the status.
pub fn refused(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Refused {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let (code, detail) = problem.map_or_else(Default::default, |problem| {
        let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
        (problem.code, detail)
    });
    Refused { status, code, detail, retry_after }
}

/// A part of a path or a query: everything but unreserved characters in percent-encoding.
pub fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a string takes everything"),
        }
        out
    })
}

/// `/v1/kv/{collection}`, and the key behind it when there is one.
pub fn kv_path(collection: &str, key: Option<&str>) -> String {
    let base = format!("/v1/kv/{}", percent_encoded(collection));
    match key {
        Some(key) => format!("{base}/{}", percent_encoded(key)),
        None => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_http_urls_only() {
        for (url, wanted, name) in [
            ("http://127.0.0.1:3030", "http://127.0.0.1:3030", "127.0.0.1"),
            ("http://localhost:1/", "http://localhost:1", "localhost"),
            ("https://localhost:1/", "https://localhost:1", "localhost"),
            ("https://[::1]:3030", "https://[::1]:3030", "::1"),
            ("http://[::1]", "http://[::1]:80", "::1"),
            ("http://db", "http://db:80", "db"),
            ("https://db.example", "https://db.example:443", "db.example"),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!((server.url().as_str(), server.name().unwrap().to_str()), (wanted, name.into()));
        }
        for url in ["", "127.0.0.1:3030", "ftp://x", "http://", "https://x/y", "http://u@x", "http://x?y"] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn keys_survive_the_path() {
        assert_eq!(kv_path("default", Some("a/b c%?\u{e9}")), "/v1/kv/default/a%2Fb%20c%25%3F%C3%A9");
        assert_eq!(kv_path("x y", None), "/v1/kv/x%20y");
    }

    #[test]
    fn a_problem_is_told_and_other_bodies_leave_the_status() {
        let problem = br#"{"code":"queue_full","title":"t","detail":"the inbox is full"}"#;
        let told = refused(503, Some(Duration::from_secs(1)), problem).to_string();
        assert_eq!(told, "the server answered 503 queue_full: the inbox is full (try again in 1 s)");
        assert_eq!(refused(502, None, b"<html>").to_string(), "the server answered 502");
    }
}

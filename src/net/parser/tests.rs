//! The reader as a whole: tables of what is taken and refused, and any cut of the input.

use proptest::prelude::*;

use super::*;

fn bulk_streams(head: &Head<'_>) -> bool {
    head.path.ends_with("/bulk")
}

/// A request in owned form, to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    line: String,
    keep_alive: bool,
    content_type: Option<String>,
    body: Vec<u8>,
}

/// Feeds `pieces` one after the other; the requests seen, and the fault that ended it.
fn read_pieces(pieces: &[&[u8]]) -> (Vec<Seen>, Option<Fault>) {
    let mut reader = RequestReader::new(bulk_streams);
    let mut seen: Vec<Seen> = Vec::new();
    let mut streaming = false;
    for piece in pieces {
        let mut input = *piece;
        loop {
            if streaming {
                match reader.next_part(&mut input) {
                    Ok(Part::Data(data)) => seen.last_mut().unwrap().body.extend_from_slice(data),
                    Ok(Part::End) => streaming = false,
                    Ok(Part::More) => break,
                    Err(fault) => return (seen, Some(fault)),
                }
                continue;
            }
            match reader.next(&mut input) {
                Ok(Some(request)) => {
                    streaming = matches!(request.body, Body::Stream { .. });
                    seen.push(see(&request));
                }
                Ok(None) => {
                    assert!(input.is_empty(), "more was asked for while input was left");
                    break;
                }
                Err(fault) => return (seen, Some(fault)),
            }
        }
    }
    (seen, None)
}

fn see(request: &Request<'_>) -> Seen {
    let head = &request.head;
    Seen {
        line: format!("{} {} {}", head.method.name(), head.path, head.query),
        keep_alive: head.keep_alive,
        content_type: head.fields.content_type().map(str::to_owned),
        body: match request.body {
            Body::Whole(body) => body.to_vec(),
            Body::Stream { .. } => Vec::new(),
        },
    }
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Option<Fault>) {
    read_pieces(&[bytes])
}

fn status_of(bytes: &[u8]) -> Option<u16> {
    read(bytes).1.map(Fault::status)
}

#[test]
fn ambiguous_and_unknown_framing_is_refused() {
    let table: &[(&str, u16)] = &[
        // Host
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        // lengths
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", 413),
        // codings
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n", 400),
        // line ends
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // request line
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417),
        ("GET / HTTP/1.1\r\nHost: a\r\nIf-Match: \"1\"\r\nIf-Match: \"2\"\r\n\r\n", 400),
    ];
    for (input, status) in table {
        assert_eq!(status_of(input.as_bytes()), Some(*status), "{}", input.escape_debug());
        // However it arrives, it is not taken.
        for cut in 0..input.len() {
            let (first, second) = input.as_bytes().split_at(cut);
            let (seen, fault) = read_pieces(&[first, second]);
            assert!(seen.is_empty() && fault.map(Fault::status) == Some(*status), "{input:?} cut at {cut}");
        }
    }
}

#[test]
fn what_is_allowed_is_taken() {
    let table: &[(&str, &str, bool)] = &[
        ("GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a b=c", true),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / ", true),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / ", true),
        ("GET / HTTP/1.1\r\nHost: [::1]:3030\r\n\r\n", "GET / ", true),
        ("GET http://host:1/a?b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a b", true),
        ("GET HTTP://host HTTP/1.1\r\nHost: a\r\n\r\n", "GET / ", true),
        ("GET http://host?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET / x", true),
        ("5!x / HTTP/1.1\r\nHost: a\r\n\r\n", "5!x / ", true),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * ", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", "GET / ", false),
        ("GET / HTTP/1.0\r\n\r\n", "GET / ", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / ", true),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "POST / ", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", "GET / ", true),
    ];
    for (input, line, keep_alive) in table {
        let (seen, fault) = read(input.as_bytes());
        assert_eq!(fault, None, "{}", input.escape_debug());
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].line.as_str(), seen[0].keep_alive), (*line, *keep_alive), "{input:?}");
        for cut in 0..input.len() {
            let (first, second) = input.as_bytes().split_at(cut);
            assert_eq!(read_pieces(&[first, second]), (seen.clone(), None), "{input:?} cut at {cut}");
        }
    }
}

#[test]
fn the_bounds_of_a_head_are_reached() {
    let head = |extra: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
    let fields = |n: usize| head(&"X: y\r\n".repeat(n));
    assert_eq!(status_of(fields(limits::HEADERS_MAX - 1).as_bytes()), None);
    assert_eq!(status_of(fields(limits::HEADERS_MAX).as_bytes()), Some(431));

    let sized = |len: usize| head(&format!("X: {}\r\n", "y".repeat(len - head("X: \r\n").len())));
    assert_eq!(status_of(sized(limits::HEAD_BYTES_MAX).as_bytes()), None);
    assert_eq!(status_of(sized(limits::HEAD_BYTES_MAX + 1).as_bytes()), Some(431));

    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert_eq!(status_of(target(limits::TARGET_BYTES_MAX).as_bytes()), None);
    assert_eq!(status_of(target(limits::TARGET_BYTES_MAX + 1).as_bytes()), Some(414));
    assert_eq!(status_of(target(limits::HEAD_BYTES_MAX * 2).as_bytes()), Some(414));
}

#[test]
fn the_bound_of_a_body_is_reached_by_length_and_by_chunks() {
    let max = limits::BODY_BYTES_MAX;
    let head = |len: usize| format!("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n");
    assert_eq!(status_of(head(max + 1).as_bytes()), Some(413));
    let (seen, fault) = read(&[head(max).as_bytes(), &vec![7; max]].concat());
    assert_eq!((seen[0].body.len(), fault), (max, None));

    let chunked = |len: usize| {
        let head = "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head.as_bytes(), format!("{len:x}\r\n").as_bytes(), &vec![7; len], b"\r\n0\r\n\r\n"].concat()
    };
    assert_eq!(status_of(&chunked(max)), None);
    assert_eq!(status_of(&chunked(max + 1)), Some(413));
}

#[test]
fn a_continue_is_owed_once_and_only_without_a_body() {
    let head = b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut reader = RequestReader::new(bulk_streams);
    let mut input = &head[..];
    assert_eq!(reader.next(&mut input), Ok(None));
    assert!(reader.take_owed_continue());
    assert!(!reader.take_owed_continue());
    assert_eq!(reader.stage(), Stage::Body);
    assert!(reader.next(&mut &b"xy"[..]).unwrap().is_some());

    let whole = [head.as_slice(), b"x"].concat();
    assert_eq!(reader.next(&mut whole.as_slice()), Ok(None));
    assert!(!reader.take_owed_continue(), "the body has begun");
}

#[test]
fn a_head_is_shown_while_its_body_is_gathered() {
    let shown = |reader: &RequestReader| reader.begun_head().map(|head| head.path.to_owned());
    for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let mut reader = RequestReader::new(bulk_streams);
        let head = format!("POST /a HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n");
        let (first, second) = head.as_bytes().split_at(20);
        for (piece, path) in [(first, None), (second, Some("/a")), (b"3\r\n".as_slice(), Some("/a"))] {
            assert_eq!(reader.next(&mut &*piece), Ok(None), "{framing}");
            assert_eq!(shown(&reader).as_deref(), path, "{framing}");
        }
    }
    let mut reader = RequestReader::new(bulk_streams);
    let mut whole = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n".as_slice();
    assert_eq!(reader.next(&mut whole), Ok(None));
    assert!(reader.next(&mut b"x".as_slice()).unwrap().is_some());
    assert_eq!(shown(&reader), None, "it is lent whole");
}

#[test]
fn a_request_put_back_comes_again() {
    let bytes: &[u8] = b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxyGET /";
    for cut in [0, 5, 46, bytes.len() - 6] {
        let mut reader = RequestReader::new(bulk_streams);
        let (mut first, mut second) = bytes.split_at(cut);
        assert_eq!(reader.next(&mut first), Ok(None));
        let kept = second;
        let once = see(&reader.next(&mut second).unwrap().unwrap());
        if !reader.put_back() {
            second = kept;
        }
        let again = see(&reader.next(&mut second).unwrap().unwrap());
        assert_eq!(once, again);
        assert_eq!(second, b"GET /");
    }
}

#[test]
fn the_values_of_fields_are_found() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\ncontent-type: a/b\r\nContent-Encoding: gzip\r\nAccept: c\r\nAccept: d\r\n\
        Accept-Encoding: zstd\r\nIf-Match: e\r\nIf-None-Match: f\r\nKyro-Durability: g\r\nIdempotency-Key: h\r\n\
        X-Request-Id:  i \r\nTraceparent: j\r\nAuthorization: k\r\nOrigin:\r\nAccess-Control-Request-Method: l\r\n\r\n";
    let fields = Head::parse(head.as_bytes()).unwrap().fields;
    assert_eq!((fields.content_type(), fields.content_encoding()), (Some("a/b"), Some("gzip")));
    assert_eq!(
        (fields.accept(), fields.accept_encoding()),
        (None, Some("zstd")),
        "lines of a list, of which one tells little"
    );
    assert_eq!((fields.if_match(), fields.if_none_match()), (Some("e"), Some("f")));
    assert_eq!((fields.durability(), fields.idempotency_key()), (Some("g"), Some(b"h".as_slice())));
    assert_eq!((fields.request_id(), fields.traceparent()), (Some("i"), Some("j")));
    assert_eq!(fields.authorization().map(|key| key.reveal()), Some("k"));
    assert_eq!((fields.origin(), fields.requested_method()), (Some(""), Some("l")));
    let without = fields.without(Field::ContentEncoding);
    assert_eq!((without.content_type(), without.content_encoding()), (Some("a/b"), None));
    let bytes = head.len() - "GET / HTTP/1.1\r\n".len();
    assert_eq!(format!("{fields:?}"), format!("{bytes} bytes of fields"), "a key is not printed");
    let behind = format!("\r\n{head}");
    assert_eq!(Head::parse(behind.as_bytes()).unwrap().fields, fields, "behind an empty line");

    let named = Head::parse(b"GET / HTTP/1.1\r\nHost: a.example:1\r\n\r\n").unwrap().fields;
    assert_eq!((fields.domain(), named.domain()), (None, Some("a.example:1")));
    let of = |lines: &[u8]| [b"GET / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n"].concat();
    let twice = of(b"Idempotency-Key: a\r\nIdempotency-Key: a\r\nX-Request-Id: \xff\r\n");
    let fields = Head::parse(&twice).unwrap().fields;
    assert_eq!((fields.idempotency_key(), fields.request_id()), (Some(b"".as_slice()), Some("")));
    assert_eq!((fields.accept(), fields.origin(), fields.traceparent()), (None, None, None));
    assert_eq!(status_of(&of(b"Accept: \xff\r\n")), Some(400));
    let once = [
        "Content-Type",
        "Content-Encoding",
        "Authorization",
        "Origin",
        "If-Match",
        "If-None-Match",
        "Kyro-Durability",
        "Access-Control-Request-Method",
    ];
    for name in once {
        let twice = of(format!("{name}: a\r\n{name}: a\r\n").as_bytes());
        assert_eq!(status_of(&twice), Some(400), "{name}");
    }
}

fn arb_request() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    let body = prop::collection::vec(any::<u8>(), 0..60);
    (0..4usize, "[a-z0-9/%]{0,20}", body, any::<bool>(), 1..20usize).prop_map(
        |(kind, path, body, typed, chunk)| {
            let path = if kind == 3 { format!("{path}/bulk") } else { path };
            let method = if kind == 0 { "GET" } else { "PUT" };
            let mut bytes = format!("{method} /{path} HTTP/1.1\r\nHost: a\r\n").into_bytes();
            if typed {
                bytes.extend_from_slice(b"content-TYPE: text/plain\r\n");
            }
            let body = if kind == 0 { Vec::new() } else { body };
            match kind {
                0 => bytes.extend_from_slice(b"\r\n"),
                1 => {
                    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                    bytes.extend_from_slice(&body);
                }
                _ => {
                    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for part in body.chunks(chunk) {
                        bytes.extend_from_slice(format!("{:X};x=y\r\n", part.len()).as_bytes());
                        bytes.extend_from_slice(part);
                        bytes.extend_from_slice(b"\r\n");
                    }
                    bytes.extend_from_slice(b"0\r\nT: t\r\n\r\n");
                }
            }
            let content_type = typed.then(|| "text/plain".to_owned());
            (bytes, Seen { line: format!("{method} /{path} "), keep_alive: true, content_type, body })
        },
    )
}

/// Some are faults alone, some only together.
const LINES: [&str; 13] = [
    "GET /a?b HTTP/1.1\r\n",
    "PUT /longer/bulk HTTP/1.1\r\n",
    "GET http://host/a HTTP/1.1\r\n",
    "GET /a HTTP/1.0\r\n",
    "GET /a#b HTTP/1.1\r\n",
    "GET /a HTTP/1.1\n",
    "GET  /a HTTP/1.1\r\n",
    "GET /a\r HTTP/1.1\r\n",
    "GET /\u{7f} HTTP/1.1\r\n",
    "GET / HTTP/1.2\r\n",
    "GET /a\r\n",
    "\r\nGET /a HTTP/1.1\r\n",
    "\r\n",
];
const SECTIONS: [&str; 14] = [
    "Host: a\r\n",
    "Host: b\r\n",
    "Host: b.example:3030\r\n",
    "Host:\r\nAccept:\r\nExpect: 100-continue\r\n",
    "Connection: keep-alive\r\n",
    "Host: a\r\nConnection: close\r\n",
    "X-Request-Id: one\r\nX-Request-Id: two\r\nHost: a\r\ntraceparent: 00-1-2-3\r\n",
    "Host: a\r\nAuthorization: Bearer one\r\nOrigin: http://a\r\nAccept: */*\r\nAccept: b\r\n",
    "Host: a\r\nAuthorization: Bearer two\r\nIf-Match: *\r\nIf-None-Match: \"1\"\r\n",
    "Host: a\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\nKyro-Durability: memory\r\n",
    "Host: a\r\nContent-Length: 0\r\nContent-Type: a/b\r\nContent-Encoding: gzip\r\n",
    "Host: a\r\nTransfer-Encoding: chunked\r\nAccess-Control-Request-Method: PUT\r\n",
    "Host: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    "",
];

/// A line and a section, and what may be a body.
fn head_of(line: &str, section: &str) -> Vec<u8> {
    let body = if section.contains("chunked") { "0\r\n\r\n" } else { "" };
    format!("{line}{section}\r\n{body}").into_bytes()
}

/// A reader that has read a request; `None` when that is a fault.
fn reader_after(first: &[u8], streams: fn(&Head<'_>) -> bool) -> Option<RequestReader> {
    let mut reader = RequestReader::new(streams);
    let mut input = first;
    reader.next(&mut input).ok()?;
    while let Ok(Part::Data(_)) = reader.next_part(&mut input) {}
    assert!(input.is_empty());
    Some(reader)
}

#[test]
fn a_head_is_read_as_if_it_were_the_first() {
    let pairs = LINES.iter().flat_map(|first| LINES.iter().map(move |second| (first, second)));
    for (first_line, second_line) in pairs {
        for section in SECTIONS {
            let (first, second) = (head_of(first_line, section), head_of(second_line, section));
            // Something follows, or is missing.
            let whole = [second.as_slice(), b"GET"].concat();
            let streams: [fn(&Head<'_>) -> bool; 2] = [|_| false, |_| true];
            let lens = [whole.len(), second.len() - 1];
            for (len, streams) in lens.into_iter().flat_map(|len| streams.map(|streams| (len, streams))) {
                let Some(mut reader) = reader_after(&first, streams) else { continue };
                let mut alone = RequestReader::new(streams);
                let (mut input, mut same) = (&whole[..len], &whole[..len]);
                let shown = whole.escape_ascii();
                assert_eq!(reader.next(&mut input), alone.next(&mut same), "{shown} after {first_line}");
                assert_eq!(input, same, "{shown}");
            }
        }
    }
}

fn cut_at<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places {
        pieces.push(&bytes[start..place]);
        start = place;
    }
    pieces.push(&bytes[start..]);
    pieces
}

/// Bytes that are close to requests, so that random ones get far.
fn arb_noise() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        prop::sample::select(vec![
            "GET ",
            "PUT ",
            "/a",
            "/bulk",
            " HTTP/1.1",
            "HTTP/1.0",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "Host: a",
            "Content-Length: ",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "5",
            "0",
            "abcde",
            ":",
            " ",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_requests(
        requests in prop::collection::vec(arb_request(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Seen> = requests.into_iter().map(|(_, seen)| seen).collect();
        prop_assert_eq!(read_pieces(&cut_at(&bytes, &cuts)), (expected, None));
    }

    #[test]
    fn noise_never_panics_and_cuts_do_not_change_it(
        bytes in arb_noise(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (whole, whole_fault) = read(&bytes);
        let (cut, cut_fault) = read_pieces(&cut_at(&bytes, &cuts));
        prop_assert_eq!(whole_fault.is_some(), cut_fault.is_some());
        prop_assert_eq!(whole, cut);
    }
}

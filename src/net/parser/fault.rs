//! Why a byte stream is not a request this server takes.
//!
//! A fault leaves the place where the next request begins unknown or unread, so it is answered once
//! and the connection closes.

use crate::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not HTTP, or framed in a way that two readers could understand differently.
    Malformed(&'static str),
    TargetTooLong,
    HeadTooLarge,
    TooManyHeaders,
    BodyTooLarge,
    /// An expectation other than `100-continue`.
    UnknownExpectation,
    UnknownTransferCoding,
    UnknownVersion,
}

impl Fault {
    pub fn status(self) -> u16 {
        match self {
            Fault::Malformed(_) => 400,
            Fault::BodyTooLarge => 413,
            Fault::TargetTooLong => 414,
            Fault::UnknownExpectation => 417,
            Fault::HeadTooLarge | Fault::TooManyHeaders => 431,
            Fault::UnknownTransferCoding => 501,
            Fault::UnknownVersion => 505,
        }
    }

    /// The stable name in problem documents.
    pub fn code(self) -> &'static str {
        match self {
            Fault::Malformed(_) => "malformed_request",
            Fault::BodyTooLarge => "body_too_large",
            Fault::TargetTooLong => "target_too_long",
            Fault::UnknownExpectation => "unknown_expectation",
            Fault::HeadTooLarge => "head_too_large",
            Fault::TooManyHeaders => "too_many_headers",
            Fault::UnknownTransferCoding => "unknown_transfer_coding",
            Fault::UnknownVersion => "unknown_http_version",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Malformed(what) => f.write_str(what),
            Fault::TargetTooLong => {
                write!(f, "the request target has more than {} bytes", limits::TARGET_BYTES_MAX)
            }
            Fault::HeadTooLarge => write!(f, "the head has more than {} bytes", limits::HEAD_BYTES_MAX),
            Fault::TooManyHeaders => write!(f, "the head has more than {} fields", limits::HEADERS_MAX),
            Fault::BodyTooLarge => write!(f, "the body has more than {} bytes", limits::BODY_BYTES_MAX),
            Fault::UnknownExpectation => f.write_str("the only expectation known is 100-continue"),
            Fault::UnknownTransferCoding => f.write_str("the only transfer coding known is chunked"),
            Fault::UnknownVersion => f.write_str("the server speaks HTTP/1.1 and HTTP/1.0"),
        }
    }
}

impl std::error::Error for Fault {}

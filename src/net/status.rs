//! Status lines, ready to be copied.

macro_rules! statuses {
    ($($code:literal $phrase:literal)*) => {
        /// The whole first line of an answer.
        pub fn line(status: u16) -> &'static str {
            match status {
                $($code => concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n"),)*
                _ => unreachable!("a status that the table does not have: {status}"),
            }
        }

        pub fn phrase(status: u16) -> &'static str {
            match status {
                $($code => $phrase,)*
                _ => unreachable!("a status that the table does not have: {status}"),
            }
        }
    };
}

statuses! {
    200 "OK"
    201 "Created"
    202 "Accepted"
    204 "No Content"
    304 "Not Modified"
    400 "Bad Request"
    401 "Unauthorized"
    403 "Forbidden"
    404 "Not Found"
    405 "Method Not Allowed"
    406 "Not Acceptable"
    408 "Request Timeout"
    409 "Conflict"
    411 "Length Required"
    412 "Precondition Failed"
    413 "Content Too Large"
    414 "URI Too Long"
    415 "Unsupported Media Type"
    417 "Expectation Failed"
    422 "Unprocessable Content"
    429 "Too Many Requests"
    431 "Request Header Fields Too Large"
    500 "Internal Server Error"
    501 "Not Implemented"
    503 "Service Unavailable"
    505 "HTTP Version Not Supported"
    507 "Insufficient Storage"
}

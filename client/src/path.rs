//! Paths of parts that come from elsewhere.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as one segment of a path, or as a value of a query.
pub(crate) fn segment(text: &str) -> String {
    // A segment of dots would climb.
    if text.bytes().all(|byte| byte == b'.') {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `segments!["showtimes", id, "seats"]` is `/showtimes/showtime_1/seats`.
macro_rules! segments {
    ($($part:expr),+) => {{
        let mut path = String::new();
        $(
            path.push('/');
            path.push_str(&$crate::path::segment(&$part.to_string()));
        )+
        path
    }};
}

pub(crate) use segments;

//! Where a gateway answers.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use std::fmt;
use std::str::FromStr;

/// The URL of a gateway, without the `/api/v1` of its paths: `http://127.0.0.1:8080`, or `http://host/shop` behind a
/// proxy that adds a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    authority: Authority,
    /// Empty, or begins with a slash and ends without one.
    prefix: String,
}

/// A text that is not the URL of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the URL of a gateway: {reason}")]
pub struct BadUrl {
    url: String,
    reason: String,
}

impl BadUrl {
    pub(crate) fn none_given() -> Self {
        Self { url: String::new(), reason: "there has to be one at least".to_owned() }
    }
}

impl BaseUrl {
    /// The whole URI of a path that begins with a slash; `None` if the path holds characters that no URI may have.
    pub(crate) fn join(&self, path: &str) -> Option<Uri> {
        let path = PathAndQuery::from_str(&format!("{}{path}", self.prefix)).ok()?;
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone());
        uri.path_and_query(path).build().ok()
    }

    /// What goes in the `Host` header.
    pub(crate) fn host(&self) -> &str {
        self.authority.as_str()
    }
}

impl FromStr for BaseUrl {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let bad = |reason: &str| BadUrl { url: url.chars().take(200).collect(), reason: reason.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has to begin with http://"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err(bad("https is not spoken yet, put a proxy in between or use http")),
            _ => return Err(bad("it has to begin with http://")),
        }
        if rest.contains(['?', '#']) {
            return Err(bad("a query or a fragment has no meaning here"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority: Authority = authority.parse().map_err(|_| bad("the host and port do not parse"))?;
        if authority.as_str().contains('@') {
            return Err(bad("user and password do not go into the URL"));
        }
        if authority.host().is_empty() {
            return Err(bad("the host is missing"));
        }
        // `host:` and `host:99999` parse as an authority without a port.
        if authority.port().is_none() && authority.as_str() != authority.host() {
            return Err(bad("the port is not a number from 1 to 65535"));
        }
        if authority.port_u16() == Some(0) {
            return Err(bad("the port is not a number from 1 to 65535"));
        }
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        let url = Self { authority, prefix };
        url.join("/").ok_or_else(|| bad("the path has characters that do not belong there"))?;
        Ok(url)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn urls_of_gateways() {
        let mut transcript = String::new();
        for url in [
            "http://127.0.0.1:8080",
            "http://127.0.0.1:8080/",
            "HTTP://Example.org",
            "http://[::1]:8080/shop/",
            "127.0.0.1:8080",
            "localhost",
            "",
            "https://example.org",
            "ftp://example.org",
            "http://",
            "http:///path",
            "http://host:port",
            "http://host:",
            "http://host:0",
            "http://host:99999",
            "http://user:secret@host",
            "http://host/?a=b",
            "http://host/#top",
            "http://host/a b",
            "http://ho st",
        ] {
            transcript += &match url.parse::<BaseUrl>() {
                Ok(parsed) => format!("{url} => {}\n", parsed.join("/api/v1/x").expect("a path")),
                Err(error) => format!("{error}\n"),
            };
        }
        expect![[r#"
            http://127.0.0.1:8080 => http://127.0.0.1:8080/api/v1/x
            http://127.0.0.1:8080/ => http://127.0.0.1:8080/api/v1/x
            HTTP://Example.org => http://Example.org/api/v1/x
            http://[::1]:8080/shop/ => http://[::1]:8080/shop/api/v1/x
            "127.0.0.1:8080" is not the URL of a gateway: it has to begin with http://
            "localhost" is not the URL of a gateway: it has to begin with http://
            "" is not the URL of a gateway: it has to begin with http://
            "https://example.org" is not the URL of a gateway: https is not spoken yet, put a proxy in between or use http
            "ftp://example.org" is not the URL of a gateway: it has to begin with http://
            "http://" is not the URL of a gateway: the host and port do not parse
            "http:///path" is not the URL of a gateway: the host and port do not parse
            "http://host:port" is not the URL of a gateway: the port is not a number from 1 to 65535
            "http://host:" is not the URL of a gateway: the port is not a number from 1 to 65535
            "http://host:0" is not the URL of a gateway: the port is not a number from 1 to 65535
            "http://host:99999" is not the URL of a gateway: the port is not a number from 1 to 65535
            "http://user:secret@host" is not the URL of a gateway: user and password do not go into the URL
            "http://host/?a=b" is not the URL of a gateway: a query or a fragment has no meaning here
            "http://host/#top" is not the URL of a gateway: a query or a fragment has no meaning here
            "http://host/a b" is not the URL of a gateway: the path has characters that do not belong there
            "http://ho st" is not the URL of a gateway: the host and port do not parse
        "#]].assert_eq(&transcript);
    }
}

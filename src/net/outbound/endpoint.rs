//! Where a call goes: an `http` or `https` URL, taken apart once. Its path may be a secret, so only the host is ever shown.

use http::uri::{PathAndQuery, Uri};
use std::fmt;
use std::net::IpAddr;
use tokio_rustls::rustls::pki_types::ServerName;

/// A longer URL is a mistake.
const URL_BYTES_MAX: usize = 2048;

/// What is wrong with a URL. The text of the URL is never said: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("be a URL, like https://siren.example/hook")]
    Malformed,
    #[error("begin with http:// or https://")]
    Scheme,
    #[error("have no user and password before the host")]
    UserInfo,
    #[error("name a port between 1 and 65535, or none")]
    Port,
    #[error("have no # in it")]
    Fragment,
    #[error("have at most {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("name a host that a certificate can be for")]
    Name,
}

/// A URL that may be called.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
    /// As the request's `Host` and people see it.
    authority: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    /// With the name that the certificate must be for.
    Https(ServerName<'static>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if text.len() > URL_BYTES_MAX {
            return Err(EndpointError::TooLong);
        }
        if text.contains('#') {
            return Err(EndpointError::Fragment);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EndpointError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
        let authority = uri.authority().ok_or(EndpointError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (scheme, usual) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https(server_name(bare)?), 443),
            Some(_) | None => return Err(EndpointError::Scheme),
        };
        if bare.is_empty() {
            return Err(EndpointError::Malformed);
        }
        let port = port(authority.as_str(), host, usual)?;
        Ok(Self {
            scheme,
            host: bare.parse().map_or_else(|_| Host::Name(bare.to_owned()), Host::Address),
            port,
            path: uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
            authority: if port == usual {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            },
        })
    }

    /// The host, with its port where that is not the usual one. It may be shown.
    pub fn host(&self) -> &str {
        &self.authority
    }

    /// Whether the call needs TLS, and so root certificates.
    pub const fn is_encrypted(&self) -> bool {
        match self.scheme {
            Scheme::Https(_) => true,
            Scheme::Http => false,
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.authority)
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, EndpointError> {
    ServerName::try_from(host.to_owned()).map_err(|_| EndpointError::Name)
}

fn port(authority: &str, host: &str, usual: u16) -> Result<u16, EndpointError> {
    let Some(behind) = authority.strip_prefix(host).filter(|behind| !behind.is_empty()) else {
        return Ok(usual);
    };
    let digits = behind.strip_prefix(':').unwrap_or_default();
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port > 0);
    port.ok_or(EndpointError::Port)
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, EndpointError, Host};

    #[test]
    fn a_url_is_taken_apart() {
        let check = |url: &str, host: &str, port: u16, path: &str, is_encrypted: bool| {
            let endpoint = Endpoint::parse(url).unwrap();
            let found = (endpoint.host(), endpoint.port, endpoint.path.as_str());
            assert_eq!(found, (host, port, path), "{url}");
            assert_eq!(endpoint.is_encrypted(), is_encrypted);
        };
        check(
            "https://siren.example/hook?x=1",
            "siren.example",
            443,
            "/hook?x=1",
            true,
        );
        check("https://siren.example:443", "siren.example", 443, "/", true);
        check("http://10.0.0.5:8080/a/b", "10.0.0.5:8080", 8080, "/a/b", false);
        check("http://[fd00::1]/", "[fd00::1]", 80, "/", false);
        check("https://[::1]:8443/", "[::1]:8443", 8443, "/", true);
        let host = |url: &str| Endpoint::parse(url).unwrap().host;
        assert_eq!(host("http://[::1]/"), Host::Address("::1".parse().unwrap()));
        assert_eq!(
            host("http://127.1/"),
            Host::Name("127.1".into()),
            "the resolver's to read"
        );
    }

    #[test]
    fn what_is_no_endpoint_says_why_without_the_url() {
        for (url, expected) in [
            ("", EndpointError::Malformed),
            ("/hook", EndpointError::Malformed),
            ("https://", EndpointError::Malformed),
            ("http://a b/", EndpointError::Malformed),
            ("http://a/\u{e9}", EndpointError::Malformed),
            ("siren.example", EndpointError::Scheme),
            ("ftp://a/", EndpointError::Scheme),
            ("gopher://a:70/_x", EndpointError::Scheme),
            ("http://me:pw@a/", EndpointError::UserInfo),
            ("https://a@b/", EndpointError::UserInfo),
            ("http://a:0/", EndpointError::Port),
            ("http://a:99999/", EndpointError::Port),
            ("http://a:/", EndpointError::Port),
            ("http://a/#b", EndpointError::Fragment),
            ("https://a..b/", EndpointError::Name),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap_err(), expected, "{url}");
        }
        let long = format!("http://a/{}", "x".repeat(2048));
        assert_eq!(Endpoint::parse(&long).unwrap_err(), EndpointError::TooLong);
    }

    #[test]
    fn a_path_is_not_shown() {
        let endpoint = Endpoint::parse("https://hooks.slack.com/services/T0/B0/secret").unwrap();
        assert_eq!(format!("{endpoint:?}"), "Endpoint(hooks.slack.com)");
    }
}

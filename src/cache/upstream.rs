//! Asking an upstream: a GET for one key, judged by its status. Its paths may be secrets: only hosts are ever shown.

use super::VALUE_BYTES_MAX;
use super::settings::Config;
use crate::net::{Endpoint, EndpointError, Outbound, OutboundError, Roots, TlsError, Whole};
use crate::security::secret::{self, SecretError};
use crate::state::cache::{Value, Why};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use std::fmt::Write as _;

const AGENT: &str = concat!("campanile/", env!("CARGO_PKG_VERSION"));
/// What stands for the key.
const PLACE: &str = "{key}";
/// Longer validators and content types of an upstream are not kept.
const HEADER_MAX: usize = 256;

/// What is wrong with an upstream's URL; never the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    #[error("have {PLACE} once, in its path or query")]
    NoPlace,
    #[error(transparent)]
    Url(EndpointError),
}

/// Why the cache cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("cache.namespaces, {name}: upstream must {source}")]
    Upstream { name: String, source: UpstreamError },
    #[error("cache.ca_file: {0}")]
    File(#[from] SecretError),
    #[error("cache.ca_file cannot be used: {0}")]
    Authorities(TlsError),
    #[error(
        "cache.namespaces, {name} has an upstream with https, and this machine has no root certificates; install them \
         (often the package ca-certificates), or set cache.ca_file"
    )]
    NoRoots { name: String },
    #[error("cache: {0}")]
    Tls(TlsError),
}

/// Where a namespace's values come from.
#[derive(Clone)]
pub struct Upstream {
    template: String,
    is_encrypted: bool,
}

/// What an upstream says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Here {
        value: Value,
        validator: Option<String>,
    },
    /// It is what is known already.
    Same,
    Nothing(Why),
}

impl Upstream {
    pub fn parse(template: &str) -> Result<Self, UpstreamError> {
        if template.matches(PLACE).count() != 1 {
            return Err(UpstreamError::NoPlace);
        }
        let endpoint = |key| Endpoint::parse(&template.replace(PLACE, key)).map_err(UpstreamError::Url);
        let (one, other) = (endpoint("a")?, endpoint("b")?);
        if one.host() != other.host() {
            return Err(UpstreamError::NoPlace);
        }
        Ok(Self {
            template: template.to_owned(),
            is_encrypted: one.is_encrypted(),
        })
    }

    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// `None` for a key that would lead elsewhere, or make the URL too long.
    fn endpoint(&self, key: &str) -> Option<Endpoint> {
        if matches!(key, "." | "..") {
            return None;
        }
        Endpoint::parse(&self.template.replace(PLACE, &encoded(key))).ok()
    }

    /// Asks for a key. `validator` is what came with the value that is known.
    pub async fn ask(&self, outbound: &Outbound, key: &str, validator: Option<&str>) -> Said {
        let Some(endpoint) = self.endpoint(key) else {
            return Said::Nothing(Why::Absent);
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let known = validator.and_then(|text| HeaderValue::from_str(text).ok());
        let has_known = known.is_some();
        headers.extend(known.map(|known| (IF_NONE_MATCH, known)));
        let answer = outbound.get(&endpoint, headers, VALUE_BYTES_MAX).await;
        if let Err(error) = &answer {
            tracing::debug!(%error, "an upstream gave nothing");
        }
        match answer.map_err(|error| why(&error)) {
            Ok(whole) if whole.status == 304 && has_known => Said::Same,
            Ok(whole) => judge(whole),
            Err(why) => Said::Nothing(why),
        }
    }
}

fn judge(whole: Whole) -> Said {
    match whole.status {
        200 => {
            let header = |name| {
                let value = whole.headers.get(name).and_then(|value| value.to_str().ok());
                value.filter(|text| text.len() <= HEADER_MAX).map(str::to_owned)
            };
            Said::Here {
                validator: header(ETAG),
                value: Value {
                    content_type: header(CONTENT_TYPE).unwrap_or_default(),
                    body: whole.body,
                },
            }
        }
        404 | 410 => Said::Nothing(Why::Absent),
        status => Said::Nothing(Why::Status(status)),
    }
}

fn why(error: &OutboundError) -> Why {
    match error {
        OutboundError::TooSlow { .. } => Why::TooSlow,
        OutboundError::TooLarge { .. } => Why::TooLarge,
        OutboundError::Unresolved { .. }
        | OutboundError::NoAddress { .. }
        | OutboundError::Forbidden { .. }
        | OutboundError::Unreachable { .. }
        | OutboundError::Tls { .. }
        | OutboundError::Broken { .. } => Why::Unreachable,
    }
}

/// All but letters, digits and `-._~` as `%XX` (RFC 3986): a key is one segment, whatever is in it.
fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // writing to a text cannot fail
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The way to upstreams. The machine's root certificates are read only where something is encrypted.
pub fn outbound(
    config: &Config,
    encrypted: Option<&str>,
    machine: impl FnOnce() -> Roots,
) -> Result<Outbound, SetUpError> {
    let mut roots = if encrypted.is_some() { machine() } else { Roots::none() };
    if !config.ca_file.as_os_str().is_empty() {
        let pem = secret::read(&config.ca_file)?;
        roots.add(pem.bytes()).map_err(SetUpError::Authorities)?;
    }
    if let Some(name) = encrypted.filter(|_| roots.is_empty()) {
        return Err(SetUpError::NoRoots { name: name.to_owned() });
    }
    Outbound::new(config.allow.clone(), roots, config.upstream_timeout.0).map_err(SetUpError::Tls)
}

#[cfg(test)]
mod tests {
    use super::{Config, Outbound, Roots, Said, SetUpError, Upstream, UpstreamError, encoded, outbound};
    use crate::net::EndpointError;
    use crate::net::outbound::server::{Play, Server};
    use crate::state::cache::Why;

    #[test]
    fn the_key_has_one_place_and_it_is_not_the_host() {
        let check = |template: &str, expected: Option<UpstreamError>| {
            assert_eq!(Upstream::parse(template).err(), expected, "{template}");
        };
        check("http://app/teams/{key}", None);
        check("https://app/teams?id={key}&x=1", None);
        check("http://app/teams", Some(UpstreamError::NoPlace));
        check("http://app/{key}/{key}", Some(UpstreamError::NoPlace));
        check("http://{key}.app/", Some(UpstreamError::NoPlace));
        check("ftp://app/{key}", Some(UpstreamError::Url(EndpointError::Scheme)));
    }

    #[test]
    fn a_key_is_one_segment_whatever_is_in_it() {
        assert_eq!(encoded("a-1._~"), "a-1._~");
        assert_eq!(encoded("a/../b?c#d %ü"), "a%2F..%2Fb%3Fc%23d%20%25%C3%BC");
        let upstream = Upstream::parse("http://app/x/{key}").unwrap();
        assert!(upstream.endpoint("..").is_none() && upstream.endpoint(".").is_none());
        assert!(upstream.endpoint("a/../..").is_some());
    }

    fn open() -> Outbound {
        let config = Config {
            allow: serde_json::from_str(r#"["127.0.0.0/8"]"#).unwrap(),
            ..Config::default()
        };
        outbound(&config, None, Roots::none).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_judged_by_its_status() {
        let answers = [
            "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        ];
        let mut plays: Vec<Play> = answers.iter().map(|text| Play::Say((*text).to_owned())).collect();
        plays.push(Play::Flood("HTTP/1.1 200 OK\r\n\r\n"));
        let mut server = Server::plain(&plays).await;
        let upstream = Upstream::parse(&server.url("/teams/{key}")).unwrap();
        let outbound = open();
        let Said::Here { value, validator } = upstream.ask(&outbound, "w 1", None).await else {
            panic!("it is there")
        };
        assert_eq!(
            (value.content_type.as_str(), value.body.as_ref()),
            ("text/plain", &b"ok"[..])
        );
        assert_eq!(validator.as_deref(), Some("\"1\""));
        assert!(server.request().await.head.starts_with("GET /teams/w%201 HTTP/1.1"));
        assert_eq!(upstream.ask(&outbound, "w", Some("\"1\"")).await, Said::Same);
        assert_eq!(server.request().await.header("if-none-match"), Some("\"1\""));
        let expected = [Why::Absent, Why::Status(500), Why::Status(302), Why::TooLarge];
        for why in expected {
            assert_eq!(upstream.ask(&outbound, "w", None).await, Said::Nothing(why));
        }
    }

    #[tokio::test]
    async fn what_is_not_there_or_not_allowed_is_out_of_reach() {
        let server = Server::plain(&[Play::Hear]).await;
        let upstream = Upstream::parse(&server.url("/{key}")).unwrap();
        let closed = outbound(&Config::default(), None, Roots::none).unwrap();
        assert_eq!(upstream.ask(&closed, "w", None).await, Said::Nothing(Why::Unreachable));
        assert_eq!(server.connections(), 0);
        let nobody = Upstream::parse("http://127.0.0.1:1/{key}").unwrap();
        assert_eq!(nobody.ask(&open(), "w", None).await, Said::Nothing(Why::Unreachable));
    }

    #[test]
    fn who_is_to_be_believed_must_be_known_where_something_is_encrypted() {
        let refused = outbound(&Config::default(), Some("teams"), Roots::none).err().unwrap();
        assert!(matches!(refused, SetUpError::NoRoots { .. }), "{refused}");
        assert!(outbound(&Config::default(), None, || panic!("they are not needed")).is_ok());
    }
}

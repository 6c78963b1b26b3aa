//! Which names this node answers to, and which web pages may call it. A page that rebinds its own name to a loopback
//! address, or just posts to one, must get nothing done here.

use super::Config;
use super::problem::{Code, Problem};
use http::{HeaderMap, HeaderValue, Uri, header};
use std::net::IpAddr;

#[derive(Debug)]
pub struct Hosts {
    /// Names of this node beside `localhost` and addresses, lower case.
    names: Vec<String>,
    loopback_only: bool,
    /// Of the pages that may call beside this node's own, lower case.
    origins: Vec<String>,
}

impl Hosts {
    /// `other_urls` are the other nodes': the dashboard that one of them served goes on here when that node is lost.
    pub fn new<'a>(
        config: &Config,
        own_urls: impl Iterator<Item = &'a str>,
        other_urls: impl Iterator<Item = &'a str>,
    ) -> Self {
        let listen = split_port(&config.listen);
        let loopback_only =
            listen.eq_ignore_ascii_case("localhost") || address(listen).is_some_and(|ip| ip.is_loopback());
        let urls = own_urls.filter_map(|url| url.parse::<Uri>().ok());
        let names = urls.filter_map(|url| url.host().map(str::to_ascii_lowercase)).collect();
        let listed = config
            .cors_origins
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase());
        Self {
            names,
            loopback_only,
            origins: listed.chain(other_urls.filter_map(origin_of)).collect(),
        }
    }

    /// Passes a request whose `Host` is this node's and whose `Origin`, if any, may call it. Answers with the origin
    /// where the response has to name it.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
        let host = host_of(uri, headers)?;
        if !self.is_mine(host) {
            let detail = format!("{:?} is no name of this node", super::fields::shorten(host));
            return Err(Problem::new(Code::ForeignHost, detail));
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(None);
        };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if self.origins.contains(&text) {
            return Ok(Some(origin.clone()));
        }
        // the node's own pages
        let own = text
            .split_once("://")
            .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(host));
        if own {
            return Ok(None);
        }
        let detail = format!("{:?} is not in api.cors_origins", super::fields::shorten(&text));
        Err(Problem::new(Code::ForeignOrigin, detail))
    }

    fn is_mine(&self, host: &str) -> bool {
        let name = split_port(host);
        match address(name) {
            Some(ip) => !self.loopback_only || ip.is_loopback() || self.names.iter().any(|known| known == name),
            None => {
                name.eq_ignore_ascii_case("localhost")
                    || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// The origin of the pages at an address, as browsers write it: without the port that its scheme has anyway.
pub fn origin_of(url: &str) -> Option<String> {
    let uri = url.parse::<Uri>().ok()?;
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = authority.host().to_ascii_lowercase();
    Some(match authority.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// The one host that the request names.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
    let malformed = |detail: &str| Problem::new(Code::MalformedRequest, detail).closing();
    let mut values = headers.get_all(header::HOST).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(malformed("there are two Host headers"));
    }
    let host = match value {
        Some(value) => Some(value.to_str().map_err(|_| malformed("the Host header is not text"))?),
        None => None,
    };
    match (uri.authority(), host) {
        // an absolute target wins over Host; a request that contradicts itself is nobody's
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
            Err(malformed("the target and the Host header name different hosts"))
        }
        (Some(authority), _) => Ok(authority.as_str()),
        (None, Some(host)) if !host.is_empty() => Ok(host),
        _ => Err(malformed("there is no Host header")),
    }
}

/// `name:port`, `1.2.3.4:port` or `[::1]:port` without the port.
fn split_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn address(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Hosts, origin_of};
    use crate::api::Config;
    use http::{HeaderMap, HeaderValue, Uri};

    fn hosts(listen: &str) -> Hosts {
        let config = Config {
            listen: listen.into(),
            cors_origins: vec!["https://venue.example/".into()],
            ..Config::default()
        };
        Hosts::new(
            &config,
            ["http://Campanile.venue.example:8205"].into_iter(),
            ["http://127.0.0.1:8215", "https://Second.venue.example:443/"].into_iter(),
        )
    }

    /// `origin` empty: no such header. What comes back is the status, or the origin that is allowed.
    fn check(listen: &str, host: &str, origin: &str, expected: Result<Option<&str>, u16>) {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert("host", host.parse().unwrap());
        }
        if !origin.is_empty() {
            headers.insert("origin", origin.parse().unwrap());
        }
        let found = hosts(listen).check(&Uri::from_static("/v1/broadcasts"), &headers);
        let found = found.map_err(|problem| problem.status().as_u16());
        let expected = expected.map(|origin| origin.map(|origin| HeaderValue::from_str(origin).unwrap()));
        assert_eq!(found, expected, "{listen} {host} {origin}");
    }

    #[test]
    fn a_loopback_node_answers_to_loopback_names_only() {
        for host in [
            "127.0.0.1:8205",
            "127.0.0.1",
            "127.0.0.9:1",
            "localhost:8205",
            "LOCALHOST",
            "[::1]:8205",
            "[::1]",
        ] {
            check("127.0.0.1:8205", host, "", Ok(None));
        }
        for host in [
            "evil.example",
            "evil.example:8205",
            "10.0.0.7:8205",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8205",
        ] {
            check("127.0.0.1:8205", host, "", Err(403));
        }
        check("127.0.0.1:8205", "campanile.venue.example:8205", "", Ok(None));
        check("127.0.0.1:8205", "", "", Err(400));
    }

    #[test]
    fn an_open_node_answers_to_addresses_and_its_own_name() {
        check("0.0.0.0:8205", "10.0.0.7:8205", "", Ok(None));
        check("0.0.0.0:8205", "campanile.venue.example", "", Ok(None));
        check("0.0.0.0:8205", "evil.example", "", Err(403));
    }

    #[test]
    fn only_own_and_listed_pages_may_call() {
        check("127.0.0.1:8205", "127.0.0.1:8205", "http://127.0.0.1:8205", Ok(None));
        check(
            "127.0.0.1:8205",
            "127.0.0.1:8205",
            "https://venue.example",
            Ok(Some("https://venue.example")),
        );
        for origin in [
            "http://127.0.0.1:9",
            "https://evil.example",
            "null",
            "file://",
            "http://127.0.0.1:8205.evil.example",
        ] {
            check("127.0.0.1:8205", "127.0.0.1:8205", origin, Err(403));
        }
    }

    #[test]
    fn pages_of_the_other_nodes_may_call() {
        for origin in ["http://127.0.0.1:8215", "https://second.venue.example"] {
            check("127.0.0.1:8205", "127.0.0.1:8205", origin, Ok(Some(origin)));
        }
        check(
            "127.0.0.1:8205",
            "127.0.0.1:8205",
            "http://second.venue.example",
            Err(403),
        );
        check("127.0.0.1:8205", "second.venue.example", "", Err(403));
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(origin_of(url).as_deref(), expected, "{url}");
        check("http://127.0.0.1:8205", Some("http://127.0.0.1:8205"));
        check("HTTPS://A.example:443/x?y", Some("https://a.example"));
        check("http://u@a.example:80", Some("http://a.example"));
        check("http://[::1]:8205", Some("http://[::1]:8205"));
        check("ftp://a.example", None);
        check("a.example", None);
    }

    #[test]
    fn a_target_and_a_host_that_disagree_are_malformed() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8205"));
        let hosts = hosts("127.0.0.1:8205");
        assert!(
            hosts
                .check(&Uri::from_static("http://127.0.0.1:8205/x"), &headers)
                .is_ok()
        );
        assert!(
            hosts
                .check(&Uri::from_static("http://evil.example/x"), &headers)
                .is_err()
        );
        headers.append("host", HeaderValue::from_static("127.0.0.1:8205"));
        assert!(hosts.check(&Uri::from_static("/x"), &headers).is_err());
    }
}

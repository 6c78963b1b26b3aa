//! Which addresses may be called. An output's URL is written by an operator, its name is resolved by somebody else: what stands
//! behind a name must not lead into the machine, its cloud's metadata or the house's network unless the settings say so.
//!
//! Pure: an address and the allowed networks go in, a [`Permitted`] or a reason comes out. Only a [`Permitted`] can be connected to.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    length: u32,
}

/// Networks that may be called although they are private, loopback or the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// An address that was looked at and may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permitted(SocketAddr);

/// An address that may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub address: IpAddr,
    /// What kind of address it is, like `loopback`.
    pub kind: &'static str,
}

impl Permitted {
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.kind)
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u32) -> Network {
    Network {
        base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        length,
    }
}

const fn v6(a: u16, b: u16, c: u16, length: u32) -> Network {
    Network {
        base: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
        length,
    }
}

/// What is not the open Internet, from the registries of special addresses of IANA (RFC 6890 and those after it). The first
/// network that holds an address names its kind.
const SPECIAL: [(Network, &str); 27] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "a provider's shared space"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
    (v6(0, 0, 0, 128), "unspecified"),
    (LOOPBACK_V6, "loopback"),
    (v6(0x64, 0xff9b, 1, 48), "local NAT64"),
    (v6(0xfc00, 0, 0, 7), "private"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
    // Teredo, benchmarking and ORCHID are in here
    (v6(0x2001, 0, 0, 23), "protocol assignments"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
    (v6(0x5f00, 0, 0, 16), "segment routing"),
];

const LOOPBACK_V6: Network = Network {
    base: IpAddr::V6(Ipv6Addr::LOCALHOST),
    length: 128,
};
/// All that is given out for the open Internet; what is outside of it is nobody's.
const GLOBAL_V6: Network = v6(0x2000, 0, 0, 3);
const NAT64: Network = v6(0x64, 0xff9b, 0, 96);
const SIX_TO_FOUR: Network = v6(0x2002, 0, 0, 16);
/// `::1.2.3.4`, long given up, and still understood by some.
const COMPATIBLE: Network = v6(0, 0, 0, 96);

impl Network {
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()).leading_zeros() >= self.length
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()).leading_zeros() >= self.length
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Networks {
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// The address as one that may be called, or why not.
    pub fn permit(&self, address: SocketAddr) -> Result<Permitted, Refused> {
        let ip = address.ip();
        let is_allowed = |ip: IpAddr| self.0.iter().any(|network| network.holds(ip));
        if is_allowed(ip) || is_allowed(meant(ip)) {
            return Ok(Permitted(address));
        }
        match kind(meant(ip)) {
            Some(kind) => Err(Refused { address: ip, kind }),
            None => Ok(Permitted(address)),
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, where it does; else the address itself.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [_, high, low, ..] = v6.segments();
    let is_plain = v6.is_unspecified() || v6.is_loopback();
    let ends_in_one = !is_plain && (COMPATIBLE.holds(address) || NAT64.holds(address));
    if let Some(mapped) = v6.to_ipv4_mapped() {
        IpAddr::V4(mapped)
    } else if ends_in_one {
        let [.., a, b, c, d] = v6.octets();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else if SIX_TO_FOUR.holds(address) {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    } else {
        address
    }
}

/// What kind of special address it is; `None`: one of the open Internet.
fn kind(address: IpAddr) -> Option<&'static str> {
    let special = SPECIAL.iter().find(|(network, _)| network.holds(address));
    special
        .map(|(_, kind)| *kind)
        .or_else(|| (address.is_ipv6() && !GLOBAL_V6.holds(address)).then_some("reserved"))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a network; write it like \"10.0.0.0/8\" or \"fd00::/8\"");
        let (base, length) = text.split_once('/').ok_or_else(wrong)?;
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u32 = length.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        let (bits, zeros) = match base {
            IpAddr::V4(v4) => (32, v4.to_bits().trailing_zeros()),
            IpAddr::V6(v6) => (128, v6.to_bits().trailing_zeros()),
        };
        if length > bits {
            return Err(wrong());
        }
        if zeros < bits - length {
            return Err(format!(
                "{text:?} has bits behind its first {length}; they must be zero"
            ));
        }
        Ok(Self { base, length })
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Networks {
    /// Says all that is wrong with a list at once.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let mut faults = Vec::new();
        let mut networks = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(Self(networks))
        } else {
            Err(D::Error::custom(faults.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, Networks};
    use std::net::SocketAddr;

    fn networks(list: &str) -> Networks {
        Networks(list.split_whitespace().map(|text| text.parse().unwrap()).collect())
    }

    /// An address, what is allowed, and the kind for which it is refused (nothing: it may be called).
    fn check(address: &str, allow: &str, expected: &str) {
        let address = SocketAddr::new(address.parse().unwrap(), 443);
        let found = networks(allow).permit(address);
        match found {
            Ok(permitted) => assert_eq!((permitted.address(), ""), (address, expected)),
            Err(refused) => assert_eq!(refused.kind, expected, "{address}"),
        }
    }

    #[test]
    fn only_the_open_internet_is_called() {
        for (addresses, kind) in [
            (
                "8.8.8.8 1.1.1.1 172.15.255.255 172.32.0.0 100.63.255.255 100.128.0.0",
                "",
            ),
            ("9.255.255.255 11.0.0.0 126.255.255.255 128.0.0.0 169.253.255.255", ""),
            (
                "192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255",
                "",
            ),
            ("0.0.0.0 0.1.2.3 0.255.255.255", "unspecified"),
            (
                "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.1",
                "private",
            ),
            ("127.0.0.1 127.255.255.255", "loopback"),
            ("169.254.0.0 169.254.169.254", "link-local"),
            ("100.64.0.0 100.127.255.255", "a provider's shared space"),
            ("192.0.0.170", "protocol assignments"),
            ("192.0.2.1 198.51.100.7 203.0.113.255", "documentation"),
            ("192.88.99.1", "6to4 relay"),
            ("198.18.0.0 198.19.255.255", "benchmarking"),
            ("224.0.0.1 239.255.255.255", "multicast"),
            ("240.0.0.1 255.255.255.254", "reserved"),
            ("255.255.255.255", "broadcast"),
        ] {
            addresses.split(' ').for_each(|address| check(address, "", kind));
        }
    }

    #[test]
    fn an_ipv6_address_counts_as_the_ipv4_address_that_it_stands_for() {
        for (addresses, kind) in [
            ("2606:4700::1111 2a00::1 2001:4860:4860::8888 2003::1", ""),
            ("::ffff:8.8.8.8 ::8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1", ""),
            (
                "::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::",
                "loopback",
            ),
            ("::ffff:10.0.0.1 64:ff9b::192.168.0.1 2002:c0a8:1::5", "private"),
            ("::ffff:169.254.169.254 64:ff9b::a9fe:a9fe", "link-local"),
            ("::ffff:0.0.0.0 ::", "unspecified"),
            ("::1", "loopback"),
            ("fc00::1 fdff:ffff::1", "private"),
            ("fe80::1 febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("2001:db8::1 3fff:fff::1", "documentation"),
            ("2001::1 2001:2::1 2001:10::1 2001:1ff::1", "protocol assignments"),
            ("64:ff9b:1::1", "local NAT64"),
            ("5f00::1", "segment routing"),
            ("100::1 ::ffff:0:8.8.8.8 4000::1 64:ff9b::1:0:0", "reserved"),
        ] {
            addresses.split(' ').for_each(|address| check(address, "", kind));
        }
    }

    #[test]
    fn what_is_allowed_may_be_called_and_nothing_beside_it() {
        check("10.1.2.3", "10.0.0.0/8", "");
        check("10.1.2.3", "10.1.2.3/32", "");
        check("10.1.2.4", "10.1.2.3/32", "private");
        check("11.1.2.3", "10.0.0.0/8", "");
        check("127.0.0.1", "10.0.0.0/8 127.0.0.0/8", "");
        check("::ffff:127.0.0.1", "127.0.0.0/8", "");
        check("64:ff9b::10.0.0.1", "10.0.0.0/8", "");
        check("64:ff9b::10.0.0.1", "64:ff9b::/96", "");
        check("::1", "127.0.0.0/8", "loopback");
        check("::1", "::1/128", "");
        check("fd00::1", "fd00::/8", "");
        check("fe80::1", "fd00::/8", "link-local");
        check("127.0.0.1", "0.0.0.0/0", "");
        check("127.0.0.1", "::/0", "loopback");
    }

    #[test]
    fn a_network_is_an_address_and_a_length() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0", "::1/128"] {
            assert_eq!(good.parse::<Network>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "a/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
        ] {
            let fault = bad.parse::<Network>().unwrap_err();
            assert!(fault.contains("is not a network; write it like"), "{fault}");
        }
        for bad in ["10.0.0.1/8", "fd00::1/64"] {
            assert!(bad.parse::<Network>().unwrap_err().contains("must be zero"));
        }
    }

    #[test]
    fn a_list_tells_all_that_is_wrong_with_it() {
        let read = serde_json::from_str::<Networks>(r#"["10.0.0.0/8", "x", "10.0.0.0/33"]"#);
        let fault = read.unwrap_err().to_string();
        assert!(
            fault.contains("\"x\" is not") && fault.contains("/33\" is not"),
            "{fault}"
        );
        let text = r#"["10.0.0.0/8","::1/128"]"#;
        let read: Networks = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}

//! Key pairs that stand for an issuer's in tests. They are for nothing else.

use super::Algorithm;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::Value;

const ED_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEBVHksw3xmcC8bQgV1Zte7RlsQbHXxWTZZvHnFFxFQ/
-----END PRIVATE KEY-----
";
pub const ED_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA2tJE+s5HUy79kBnc1r1MqDz0WOwxHJhC3elKZO53nsA=
-----END PUBLIC KEY-----
";
const EC_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQghfXbXPlVjMm3PxkD
x/UF5O7ErYXHHWFF0O59Uklr2zmhRANCAAQUMS9XMBjADKdwR6RMEfFNydnQMINS
/4zwYCkLHrGbZBZEPKQZHMTHqqNyp6d+iCM5i5fed3dfkGm3k3nPQT0P
-----END PRIVATE KEY-----
";
pub const EC_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFDEvVzAYwAyncEekTBHxTcnZ0DCD
Uv+M8GApCx6xm2QWRDykGRzEx6qjcqenfogjOYuX3nd3X5Bpt5N5z0E9Dw==
-----END PUBLIC KEY-----
";
const RSA_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDfTXab08V/vofI
9YYRQeCzb4lmFFhTrUwH05C64I6rXThOb3N23BA3NYxMs+IBNgYpnKyJZylG1ya3
DTpF5s3Fdv3S9iy+oXDI4rqF6PiFve2oiizwiVMLQzIeMykZGkwZ6b1Uz1wu49/v
Hou+9SJEIP9s24J9b9gUNdOE1p0vr6mO/0Luni8m47xG6MwwwDEge3sU9pTpcld5
JaHzaQrCbShQJgQnw21jSs0ssJ5+MeI3/3d8TPusuS28hMA4vZTIdnReKVEfa5L0
RQwT/aBeQZC0vw9UJlmMRm/uKdurDEVgAF/xw4/6m0xm75EywfPUFp//jXCG1/Tt
SIiVnoAVAgMBAAECggEAHq3Z2dbij4ZxyV5SKRTP9lcgnXG2IOjyRTD/9WzcrRaF
oeEWEAJ0B+HHgNJF/ryZZCYuXkJaHW152DRtCSWIp9SNUuqXgylTAYaE8djsLBPI
DxvMyM9VJXr568RDpTtDsVu3s2s50wdjwMqFkJrFNm8CKMaPywQOv9gVU27Y8bAC
6aIOBo9J8HAie4CId+f+UqEdWizVaXASyNe32X53QJBsT0FqRYaMoEJ2GT+auqEX
m2dnpDq9XH8d6JtFRvrSHuBo+SL1lh0VB0j5uwhX9zUUTjw2gHY5Dvx7v/8g9Q7I
TqwRMwgw6Yap3NZytmj4jrRUToXzxC7mpNW5sxyqAQKBgQD61y8sRAm5Zbsj4Zoi
1XGdkU4bbQ5vg15BnFQ2zClbWnILDNTFX2RSRuw5y1ASfzc4lW2HCmI3GCnM5NxF
RwRT3PFiqCWrWjVelFRZ0kkv6e0TEIJFPoOwQmklwgGzCCHkOx/kZwBeL3PTaeD1
LT0s8DhhUpowdF3AnPNK4Z21NQKBgQDj5Ua3O1E7pc4ZX2vj6ehizzi/NPrsPjtQ
oi1nesW/lUDrATFbsxTH5XcS4HnLgYsIWxBRPL0eOBYToSY1gbMUvt3k+ONFhtA3
NR8uj29vcZIlEUmBgeIT7igLYaP7BsaEPpGPPhIfb0ZPYOaXG10AcgCBPReT8TFz
x/apYQdbYQKBgQDRWdD0J+DZzC8RNlP3aJ8He+NtfmqC5WhAaCHdDi4iIW13DYFz
LTdEeA7l+Wrd1TEYV5ZvE1p/UvpoGEZCx4+0En2f8mhmB8btJez0fk444ArOU4P2
GMO90t+A9NeIPWxT2Ii4jsK+2OnZc8+dsOES5XaYu2EWubgZbqSbRYvjVQKBgEgS
XFjaQ4hvmUxg5wf/E2UcT7/4i1pnG+8WOvG83AkItK0dhXSQoAPPx+aKYzo+z69m
zTRD1zNVXXX7ws+tIutuqVIefBGi3vp2rFPXPNCrxCJA41Q3tT3EVZmz2V4r+GAe
QX5hjO2wDTZRWNt05eacJxi4L1q0LoWFOba7Xs5BAoGBALvZDVY3DuGwilvkAxRE
ju+rPOvw/ohtmLkQRRmidqGGoQWT/3tuApcOyDuixwWyFE/WPiFiRqplsDkJJYK9
Y4DnENUglQAP3cgBqumbaV+HNjTU2LnTc+cHsfTBlEWTKpqIk0UXJXatfe6/qkWZ
hhLdPdgE7gipinjOTen5SzcL
-----END PRIVATE KEY-----
";
pub const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3012m9PFf76HyPWGEUHg
s2+JZhRYU61MB9OQuuCOq104Tm9zdtwQNzWMTLPiATYGKZysiWcpRtcmtw06RebN
xXb90vYsvqFwyOK6hej4hb3tqIos8IlTC0MyHjMpGRpMGem9VM9cLuPf7x6LvvUi
RCD/bNuCfW/YFDXThNadL6+pjv9C7p4vJuO8RujMMMAxIHt7FPaU6XJXeSWh82kK
wm0oUCYEJ8NtY0rNLLCefjHiN/93fEz7rLktvITAOL2UyHZ0XilRH2uS9EUME/2g
XkGQtL8PVCZZjEZv7inbqwxFYABf8cOP+ptMZu+RMsHz1Baf/41whtf07UiIlZ6A
FQIDAQAB
-----END PUBLIC KEY-----
";
pub const WEAK_RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDp54OObsHe69EqSYZcL0ij/MYf
5Usdb9yqokk69TtAe4UQiCaChwfx/71jERVFhlmQabzFeWT5zuNYq1ZXJJVTaQRK
bDl2rqZSIjRNN6PqyggJlNX/gPOLSzYtCp8SiOLHHHimu8AMDpobNsxWKRl55LDm
WyFHSnc/yDDAwh8imQIDAQAB
-----END PUBLIC KEY-----
";
pub const P384_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEbzmxnhv3Zyx2skBtZs52g4OEOVX3Fofd
a+2mNiJoVjATnDN7ZVqCHNTlMOhebnvdIGnAKAXpHN3pIJhKyvQ9qTJfT2MX2tPv
C/8cgIk3qCOn3CLNsFN9I5FpXPtARKT/
-----END PUBLIC KEY-----
";
pub const SECRET: &str = "thirty-two letters make a secret";

pub fn public(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDsa => ED_PUBLIC,
        Algorithm::Es256 => EC_PUBLIC,
        Algorithm::Rs256 => RSA_PUBLIC,
        Algorithm::Hs256 => SECRET,
    }
}

/// A token of these claims, signed as an issuer would.
pub fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm.library());
    header.kid = kid.map(str::to_owned);
    sign_as(&header, algorithm, claims)
}

/// With any header at all.
pub fn sign_as(header: &Header, algorithm: Algorithm, claims: &Value) -> String {
    let key = match algorithm {
        Algorithm::EdDsa => EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()),
        Algorithm::Es256 => EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()),
        Algorithm::Rs256 => EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()),
        Algorithm::Hs256 => Ok(EncodingKey::from_secret(SECRET.as_bytes())),
    };
    encode(header, claims, &key.unwrap()).unwrap()
}

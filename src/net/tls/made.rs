//! Certificates for a cluster that somebody tries out: an authority that nobody else believes, and what it signs once.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// All as PEM. The authority's own key is gone: nothing else can be signed by it.
pub struct Made {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be made: {0}")]
pub struct MakeError(#[from] rcgen::Error);

/// A certificate for these names and addresses.
pub fn make(names: &[&str]) -> Result<Made, MakeError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority
        .distinguished_name
        .push(DnType::CommonName, "Campanile, for trying out");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let own = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "a node of Campanile");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Made {
        authority: own.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

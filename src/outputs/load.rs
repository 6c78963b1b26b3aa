//! From settings to outputs that can be called: files are read here, once, at the start.

use super::settings::{Config, Shape, Target};
use super::sign::Keys;
use crate::net::{Endpoint, Outbound, Roots, TlsError};
use crate::security::secret::{self, Secret, SecretError};
use std::path::{Path, PathBuf};

/// Why outputs cannot be used: the setting, the file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum OutputsError {
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    #[error("{key}: {source}")]
    File { key: String, source: SecretError },
    #[error("{key}: {} cannot be used: {detail}", path.display())]
    Content { key: String, path: PathBuf, detail: String },
    #[error("outputs.ca_file: {} cannot be used: {source}", path.display())]
    Authorities { path: PathBuf, source: TlsError },
    #[error(
        "{key} is https, and this machine has no root certificates; install them (often the package ca-certificates), or set outputs.ca_file"
    )]
    NoRoots { key: String },
    #[error("outputs: {0}")]
    Tls(#[from] TlsError),
}

/// What an output understands, with what that needs.
#[derive(Clone)]
pub(super) enum Words {
    Webhook(Keys),
    Slack,
    PagerDuty { routing_key: String },
}

impl Words {
    pub const fn shape(&self) -> Shape {
        match self {
            Self::Webhook(_) => Shape::Webhook,
            Self::Slack => Shape::Slack,
            Self::PagerDuty { .. } => Shape::PagerDuty,
        }
    }
}

/// Where a target is and what it understands.
pub(super) fn target(target: &Target) -> Result<(Endpoint, Words), OutputsError> {
    let words = match (target.shape, &target.secret_file) {
        (Shape::Webhook, Some(path)) => Words::Webhook(content(target, "secret_file", path, Keys::read)?),
        (Shape::PagerDuty, Some(path)) => Words::PagerDuty {
            routing_key: content(target, "secret_file", path, |secret| line(secret).map(str::to_owned))?,
        },
        (Shape::Slack, _) => Words::Slack,
        (Shape::Webhook | Shape::PagerDuty, None) => {
            return Err(OutputsError::Settings(vec![target.key("secret_file must be set")]));
        }
    };
    let endpoint = match (&target.url, &target.url_file) {
        (_, Some(path)) => content(target, "url_file", path, |secret| {
            let url = line(secret).map_err(str::to_owned)?;
            Endpoint::parse(url).map_err(|error| format!("its URL must {error}"))
        })?,
        (Some(url), None) => {
            let wrong = |error| OutputsError::Settings(vec![format!("{} must {error}", target.key("url"))]);
            Endpoint::parse(url).map_err(wrong)?
        }
        (None, None) => return Err(OutputsError::Settings(vec![target.key("url must be set")])),
    };
    Ok((endpoint, words))
}

/// A file's secret as what it stands for.
fn content<T, E: ToString>(
    target: &Target,
    key: &str,
    path: &Path,
    read: impl FnOnce(&Secret) -> Result<T, E>,
) -> Result<T, OutputsError> {
    let key = target.key(key);
    let secret = match secret::read(path) {
        Ok(secret) => secret,
        Err(source) => return Err(OutputsError::File { key, source }),
    };
    if secret::is_shared(path) {
        tracing::warn!("{key}: {} can be read by other users of this machine", path.display());
    }
    read(&secret).map_err(|detail| OutputsError::Content {
        key,
        path: path.to_owned(),
        detail: detail.to_string(),
    })
}

/// A secret that is one line of visible letters.
fn line(secret: &Secret) -> Result<&str, &'static str> {
    let text = secret.text().ok_or("it is not text")?.trim();
    let is_line = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_line.then_some(text).ok_or("it must be one line without blanks")
}

/// The way out. The root certificates of the `machine` are read only where something is encrypted: `encrypted` names an output.
pub(super) fn outbound(
    config: &Config,
    encrypted: Option<&str>,
    machine: impl FnOnce() -> Roots,
) -> Result<Outbound, OutputsError> {
    let mut roots = if encrypted.is_some() { machine() } else { Roots::none() };
    let path = &config.ca_file;
    if !path.as_os_str().is_empty() {
        let pem = secret::read(path).map_err(|source| OutputsError::File {
            key: "outputs.ca_file".into(),
            source,
        })?;
        roots.add(pem.bytes()).map_err(|source| OutputsError::Authorities {
            path: path.clone(),
            source,
        })?;
    }
    if let Some(name) = encrypted.filter(|_| roots.is_empty()) {
        return Err(OutputsError::NoRoots {
            key: format!("outputs.targets, {name}"),
        });
    }
    Ok(Outbound::new(config.allow.clone(), roots, config.timeout.0)?)
}

#[cfg(test)]
mod tests {
    use super::{Config, OutputsError, Roots, outbound};

    #[test]
    fn who_is_to_be_believed_must_be_known_where_something_is_encrypted() {
        let config = Config::default();
        let refused = outbound(&config, Some("siren"), Roots::none).err().unwrap();
        assert!(matches!(refused, OutputsError::NoRoots { .. }), "{refused}");
        assert!(
            refused.to_string().starts_with("outputs.targets, siren is https"),
            "{refused}"
        );
        assert!(outbound(&config, None, || panic!("they are not needed")).is_ok());
    }
}

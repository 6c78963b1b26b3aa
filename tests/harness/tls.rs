//! TLS as the tests have it: an authority of their own, a client's end, and tunnels through which all other clients of the tests
//! speak it without knowing.

use super::wait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// What a tunnel holds of a stream must be little: it would stand in front of what is urgent.
const SMALL: usize = 16 << 10;
/// Where the nodes' certificates are for.
const HOST: &str = "127.0.0.1";

/// The files of one cluster's certificate, and who is believed.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

impl Identity {
    pub fn new(folder: &Path) -> Self {
        let identity = Self {
            certificate: folder.join("node.pem"),
            key: folder.join("node.key"),
            authority: folder.join("ca.pem"),
        };
        identity.renew();
        identity
    }

    /// A certificate of an authority that did not exist before takes the place of what is in the files.
    pub fn renew(&self) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        for (path, text) in [
            (&self.key, key.serialize_pem()),
            (&self.certificate, certificate),
            (&self.authority, pem),
        ] {
            std::fs::write(path, text).unwrap();
        }
    }

    pub fn settings(&self) -> [String; 2] {
        [
            format!("tls.certificate_file={}", self.certificate.display()),
            format!("tls.key_file={}", self.key.display()),
        ]
    }

    /// Believes the authority that is in the file now.
    pub fn believer(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.authority).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The handshake is made with the first read or write.
pub fn connect(node: SocketAddr, config: Arc<ClientConfig>, patience: Duration) -> io::Result<Secure> {
    let stream = super::http::connect(node, patience)?.into_inner();
    let client = ClientConnection::new(config, ServerName::try_from(HOST).unwrap());
    Ok(StreamOwned::new(client.map_err(io::Error::other)?, stream))
}

/// What a client says first.
pub fn hello(config: Arc<ClientConfig>) -> Vec<u8> {
    let mut client = ClientConnection::new(config, ServerName::try_from(HOST).unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A handshake that the client leaves lying for so long before its last word; since when that may have been said.
pub fn connect_slowly(
    node: SocketAddr,
    config: Arc<ClientConfig>,
    pause: Duration,
    patience: Duration,
) -> io::Result<(Secure, Instant)> {
    let (mut conn, mut sock) = connect(node, config, patience)?.into_parts();
    conn.write_tls(&mut sock)?;
    wait::maybe(pause, || None::<()>);
    let since = Instant::now();
    conn.complete_io(&mut sock)?;
    Ok((StreamOwned::new(conn, sock), since))
}

/// Addresses in the clear that lead to nodes with TLS.
pub struct Tunnels {
    runtime: tokio::runtime::Runtime,
    config: Arc<ClientConfig>,
}

impl Tunnels {
    pub fn new(config: Arc<ClientConfig>) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Self {
            runtime: runtime.worker_threads(1).enable_all().build().unwrap(),
            config,
        }
    }

    pub fn to(&self, node: SocketAddr) -> SocketAddr {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connector = TlsConnector::from(self.config.clone());
        self.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, node, connector.clone()));
            }
        });
        address
    }
}

/// Whatever goes wrong, the near end sees its connection end.
async fn carry(mut near: tokio::net::TcpStream, node: SocketAddr, connector: TlsConnector) -> io::Result<()> {
    near.set_nodelay(true)?;
    socket2::SockRef::from(&near).set_send_buffer_size(SMALL)?;
    let far = tokio::net::TcpSocket::new_v4()?;
    far.set_recv_buffer_size(SMALL as u32)?;
    let far = far.connect(node).await?;
    far.set_nodelay(true)?;
    let mut far = connector.connect(ServerName::try_from(HOST).unwrap(), far).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

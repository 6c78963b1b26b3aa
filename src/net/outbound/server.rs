//! A server for tests that plays what it is told to: it answers, hangs, drips, or closes, in the clear or with TLS.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is done with one connection.
#[derive(Clone, Debug)]
pub enum Play {
    /// Reads the request, writes this and closes.
    Say(String),
    /// Reads the request, writes the first text at once and the second again and again, a letter at a time.
    Drip(&'static str, &'static str),
    /// Reads the request, writes this head and then bytes until the other side closes.
    Flood(&'static str),
    /// Reads the request and says nothing.
    Hear,
    /// Does not even read.
    Hang,
}

/// A request as it came.
#[derive(Debug)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// A header's value by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(": "));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

pub struct Server {
    pub address: SocketAddr,
    /// The authority that the server's certificate is from, as PEM; empty without TLS.
    pub authority: String,
    connections: Arc<AtomicUsize>,
    requests: mpsc::Receiver<Received>,
}

impl Server {
    /// Plays one after the other, a connection each; the last one again and again.
    pub async fn plain(plays: &[Play]) -> Self {
        Self::start(plays, None, String::new()).await
    }

    /// The same with TLS and a certificate for `name`, from an authority of its own.
    pub async fn tls(plays: &[Play], name: &str) -> Self {
        Self::tls_of(plays, name, ALL_VERSIONS).await
    }

    pub async fn tls_of(plays: &[Play], name: &str, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let (acceptor, authority) = acceptor(name, versions);
        Self::start(plays, Some(acceptor), authority).await
    }

    async fn start(plays: &[Play], acceptor: Option<TlsAcceptor>, authority: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, requests) = mpsc::channel(64);
        let (plays, count) = (plays.to_vec(), connections.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let at = count.fetch_add(1, Ordering::SeqCst).min(plays.len() - 1);
                tokio::spawn(serve(stream, plays[at].clone(), acceptor.clone(), tell.clone()));
            }
        });
        Self {
            address,
            authority,
            connections,
            requests,
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    pub async fn request(&mut self) -> Received {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
        next.expect("a request in time").unwrap()
    }
}

async fn serve(stream: TcpStream, play: Play, acceptor: Option<TlsAcceptor>, tell: mpsc::Sender<Received>) {
    let played = async {
        if matches!(play, Play::Hang) {
            let mut stream = stream;
            return wait_for_end(&mut stream).await;
        }
        match acceptor {
            None => act(stream, play, tell).await,
            // A client that does not believe the certificate has gone.
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => act(stream, play, tell).await,
                Err(error) => Err(error),
            },
        }
    };
    let _ = tokio::time::timeout(PATIENCE, played).await;
}

async fn act<S>(mut stream: S, play: Play, tell: mpsc::Sender<Received>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let received = read(&mut stream).await?;
    let _ = tell.send(received).await;
    match play {
        Play::Say(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
        Play::Drip(first, again) => {
            stream.write_all(first.as_bytes()).await?;
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            for letter in again.bytes().cycle() {
                beat.tick().await;
                stream.write_all(&[letter]).await?;
                stream.flush().await?;
            }
            Ok(())
        }
        Play::Flood(head) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        Play::Hear | Play::Hang => wait_for_end(&mut stream).await,
    }
}

async fn wait_for_end(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut waste = [0; 4096];
    while stream.read(&mut waste).await? > 0 {}
    Ok(())
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut received = Received {
        head: String::from_utf8(bytes[..end].to_vec()).unwrap(),
        body: bytes.split_off(end),
    };
    let length: usize = received.header("content-length").unwrap_or("0").parse().unwrap();
    while received.body.len() < length {
        if stream.read_buf(&mut received.body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(received)
}

/// A certificate for `name` from an authority that was made for it, and that authority as PEM.
fn acceptor(name: &str, versions: &[&'static SupportedProtocolVersion]) -> (TlsAcceptor, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), pem)
}

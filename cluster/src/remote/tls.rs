//! [`Tls`]: mutual TLS 1.3 between nodes. Both sides show a certificate that an authority of the cluster signed.
//!
//! Certificates can be changed while the node runs ([`Tls::reload`]): connections made from then on use the new ones, those
//! that stand go on. To change the authority without a gap, trust both first.

use super::transport::ByteStream;
use crate::member::Address;
use actors::Clock;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, verify_server_name},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
    time_provider::TimeProvider,
    version::TLS13,
};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a node shows and whom it trusts, as PEM.
#[derive(Clone)]
pub struct TlsMaterial {
    /// Its own certificate first, then those between it and an authority.
    pub certificates: Vec<u8>,
    /// Of its own certificate.
    pub key: Vec<u8>,
    /// Who signs the certificates of this cluster: nobody else's are taken.
    pub authorities: Vec<u8>,
}

/// The key is nobody's business.
impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").finish_non_exhaustive()
    }
}

/// To whom certificates are made out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsNames {
    /// Each to the host in its node's address, a name or a number.
    Host,
    /// All to this name: for clusters whose nodes come and go with addresses nobody knows before.
    Cluster(Arc<str>),
}

/// Why this is no TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTls {
    /// There is nothing to change.
    #[error("this node was started without `tls`: set it and start again")]
    Off,
    /// The certificates.
    #[error("`tls.certificates` is no PEM with the certificate of this node first: {0}")]
    Certificates(String),
    /// The private key.
    #[error("`tls.key` is no PEM with the private key of the first certificate: {0}")]
    Key(String),
    /// Those who sign.
    #[error("`tls.authorities` is no PEM with certificates of those who sign the cluster's: {0}")]
    Authorities(String),
    /// The name that certificates are made out to.
    #[error("`tls.name` {0:?} is no name that a certificate may be made out to")]
    Name(Arc<str>),
}

/// One node's TLS.
pub(crate) struct Tls {
    names: TlsNames,
    clock: Clock,
    now: Mutex<(Arc<ClientConfig>, Arc<ServerConfig>)>,
}

impl Tls {
    /// # Errors
    /// Which part of `material` is not what it is to be.
    pub(crate) fn new(material: &TlsMaterial, names: TlsNames, clock: Clock) -> Result<Self, InvalidTls> {
        if let TlsNames::Cluster(name) = &names
            && ServerName::try_from(&**name).is_err()
        {
            return Err(InvalidTls::Name(Arc::clone(name)));
        }
        let now = Mutex::new(configs(material, &clock)?);
        Ok(Self { names, clock, now })
    }

    /// Goes on with these. If they are none, with those there were.
    ///
    /// # Errors
    /// Which part of `material` is not what it is to be.
    pub(crate) fn reload(&self, material: &TlsMaterial) -> Result<(), InvalidTls> {
        let configs = configs(material, &self.clock)?;
        *self.now.lock() = configs;
        Ok(())
    }

    /// Makes a connection one over TLS, on the side that made it. The certificate that came is signed, in time and made out
    /// to whom it should. It has no time limit of its own.
    ///
    /// # Errors
    /// The other side is a stranger, does not speak TLS, or is gone.
    pub(crate) async fn dialled(&self, stream: ByteStream, to: &Address) -> io::Result<(ByteStream, Certificate)> {
        let name = match &self.names {
            TlsNames::Host => to.host(),
            TlsNames::Cluster(name) => name,
        };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = Arc::clone(&self.now.lock().0);
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let certificate = self.certificate(shown)?;
        Ok((Box::new(stream), certificate))
    }

    /// Makes a connection one over TLS, on the side that it was made to. As [`dialled`](Self::dialled), but with
    /// [`TlsNames::Host`] it is not known yet to whom the certificate should be made out: ask [`Certificate::is_for`].
    ///
    /// # Errors
    /// The other side is a stranger, does not speak TLS, or is gone.
    pub(crate) async fn accepted(&self, stream: ByteStream) -> io::Result<(ByteStream, Certificate)> {
        let config = Arc::clone(&self.now.lock().1);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let certificate = self.certificate(shown)?;
        Ok((Box::new(stream), certificate))
    }

    fn certificate(&self, shown: Option<CertificateDer<'static>>) -> io::Result<Certificate> {
        let shown = shown.ok_or_else(|| io::Error::other("no certificate was shown"))?;
        match &self.names {
            TlsNames::Host => Ok(Certificate::OfHost(shown)),
            TlsNames::Cluster(name) if is_made_out_to(&shown, name) => Ok(Certificate::OfCluster),
            TlsNames::Cluster(name) => Err(io::Error::other(format!("the certificate is not made out to {name:?}"))),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What the other side showed.
#[derive(Clone, Debug)]
pub(crate) enum Certificate {
    /// There is no TLS.
    None,
    /// One that is good for all nodes of the cluster.
    OfCluster,
    OfHost(CertificateDer<'static>),
}

impl Certificate {
    /// Whether it is good for the node at `address`.
    pub(crate) fn is_for(&self, address: &Address) -> bool {
        match self {
            Self::None | Self::OfCluster => true,
            Self::OfHost(certificate) => is_made_out_to(certificate, address.host()),
        }
    }
}

fn is_made_out_to(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (parsed, name) = (ParsedCertificate::try_from(certificate), ServerName::try_from(name));
    matches!((parsed, name), (Ok(parsed), Ok(name)) if verify_server_name(&parsed, &name).is_ok())
}

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

fn configs(material: &TlsMaterial, clock: &Clock) -> Result<Configs, InvalidTls> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&material.certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| InvalidTls::Certificates(error.to_string()))?;
    if chain.is_empty() {
        return Err(InvalidTls::Certificates("there is none in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|error| InvalidTls::Key(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&material.authorities) {
        let authority = authority.map_err(|error| InvalidTls::Authorities(error.to_string()))?;
        roots.add(authority).map_err(|error| InvalidTls::Authorities(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(InvalidTls::Authorities("there is none in it".to_owned()));
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(ring::default_provider());
    let time = Arc::new(WallTime(clock.clone()));
    let not_this_key = |error: rustls::Error| InvalidTls::Key(error.to_string());
    let no_version = |error: rustls::Error| InvalidTls::Certificates(error.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| InvalidTls::Authorities(error.to_string()))?;
    let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&time) as _)
        .with_protocol_versions(&[&TLS13])
        .map_err(no_version)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(not_this_key)?;
    let mut client = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(no_version)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(not_this_key)?;
    // Each connection is checked anew: who was let in once may not be trusted any more.
    server.send_tls13_tickets = 0;
    client.resumption = Resumption::disabled();
    Ok((Arc::new(client), Arc::new(server)))
}

/// Certificates are good for a time, which is that of the node.
struct WallTime(Clock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.wall_ms())))
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallTime")
    }
}

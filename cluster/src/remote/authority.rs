//! [`Authority`]: whoever signs certificates in tests.

use super::tls::TlsMaterial;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::sync::atomic::{AtomicU32, Ordering};

/// Each has a name of its own.
static NUMBER: AtomicU32 = AtomicU32::new(1);

/// Signs certificates.
pub(crate) struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self(Issuer::new(params, key), certificate.pem())
    }

    /// A certificate made out to `name`, for one that trusts `trusted`.
    pub(crate) fn signs(&self, name: &str, trusted: &Self) -> TlsMaterial {
        self.signs_for(name, &[trusted])
    }

    /// As [`signs`](Self::signs), for one that trusts several.
    pub(crate) fn signs_for(&self, name: &str, trusted: &[&Self]) -> TlsMaterial {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let authorities = trusted.iter().map(|trusted| &*trusted.1).collect::<String>().into_bytes();
        TlsMaterial { certificates: certificate.pem().into(), key: key.serialize_pem().into(), authorities }
    }
}

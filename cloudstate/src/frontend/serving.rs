//! What is being served at the moment.

use std::collections::HashMap;
use std::sync::Arc;

use crate::call::Dispatch;
use crate::spec::{MethodSpec, ServedSpec};
use crate::telemetry::RequestMetrics;

use super::http::Routes;
use super::reflection::{self, ReflectionIndex};

/// A specification ready to be served, and who carries its calls out.
pub(super) struct Serving {
    pub(super) spec: Arc<ServedSpec>,
    pub(super) dispatch: Arc<dyn Dispatch>,
    pub(super) routes: Routes,
    pub(super) reflection: ReflectionIndex,
    methods: HashMap<Box<str>, Arc<Endpoint>>,
}

/// A method and its series.
pub(super) struct Endpoint {
    pub(super) method: Arc<MethodSpec>,
    pub(super) metrics: RequestMetrics,
}

/// What a gRPC path leads to.
pub(super) enum Target<'a> {
    Method(&'a Endpoint),
    Reflection(reflection::Version),
    /// Nothing, and why.
    UnknownMethod(String),
}

impl Serving {
    pub(super) fn new(spec: Arc<ServedSpec>, dispatch: Arc<dyn Dispatch>) -> Self {
        let methods = spec.services.iter().flat_map(|service| &service.methods);
        let endpoint = |method: &Arc<MethodSpec>| {
            let metrics = RequestMetrics::for_method(&method.service, &method.name);
            Arc::new(Endpoint { method: method.clone(), metrics })
        };
        let endpoints: Vec<_> = methods.map(endpoint).collect();
        let routes = Routes::new(&endpoints);
        let reflection = ReflectionIndex::new(&spec);
        let methods = endpoints.into_iter().map(|endpoint| (endpoint.method.path().into(), endpoint)).collect();
        Self { spec, dispatch, routes, reflection, methods }
    }

    /// Where a call of `path`, `/<service>/<method>`, goes.
    pub(super) fn target(&self, path: &str) -> Target<'_> {
        if let Some(endpoint) = self.methods.get(path) {
            return Target::Method(endpoint);
        }
        if let Some(version) = reflection::Version::from_path(path) {
            return Target::Reflection(version);
        }
        Target::UnknownMethod(match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
            Some((service, method)) if self.spec.service(service).is_some() => {
                format!("service [{service}] has no method [{method}]")
            }
            Some((service, _)) => format!("service [{service}] is not served here"),
            None => format!("[{path}] is no path of a gRPC method"),
        })
    }
}

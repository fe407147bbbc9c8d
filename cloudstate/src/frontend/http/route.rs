//! Which endpoint a request is for: a trie over path segments.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::path::{self, PathError};
use crate::frontend::serving::Endpoint;
use crate::spec::{HttpBinding, HttpMethod, Segment, Variable};

/// All HTTP endpoints.
pub(in crate::frontend) struct Routes {
    routes: Vec<Route>,
    root: Node,
}

/// One endpoint.
struct Route {
    endpoint: Arc<Endpoint>,
    /// Which of the method's bindings.
    binding: usize,
}

/// An endpoint that a request matches, and the texts of its path variables.
pub(super) struct Match<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) binding: &'a HttpBinding,
    /// In the order of the binding's variables.
    pub(super) captures: Vec<String>,
}

/// What the routes say about a path.
pub(super) enum Found<'a> {
    Match(Match<'a>),
    /// The path is known, for other HTTP methods.
    OtherMethods(Vec<Method>),
    Nothing,
}

#[derive(Default)]
struct Node {
    literals: HashMap<String, Node>,
    single: Option<Box<Node>>,
    /// Routes that end here, as indices.
    end: Vec<usize>,
    /// Routes that take whatever follows.
    rest: Vec<usize>,
}

impl Routes {
    pub(in crate::frontend) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let mut this = Self { routes: Vec::new(), root: Node::default() };
        for endpoint in endpoints {
            for (binding, http) in endpoint.method.http.iter().enumerate() {
                this.root.insert(&http.template.segments, this.routes.len());
                this.routes.push(Route { endpoint: endpoint.clone(), binding });
            }
        }
        this
    }

    /// The endpoint for `method` and the raw `path`.
    ///
    /// A template with a verb beats one without; among the rest the one registered last wins.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Found<'_>, PathError> {
        path::check(path)?;
        let Some(path) = path.strip_prefix('/') else {
            return Ok(Found::Nothing);
        };
        let segments: Vec<&str> = path.split('/').collect();
        let mut candidates = Vec::new();
        if let Some((last, before)) = segments.split_last()
            && let Some((head, verb)) = last.rsplit_once(':')
        {
            let mut shortened = before.to_vec();
            shortened.push(head);
            let verb = path::decode(verb)?;
            self.collect(&shortened, Some(&verb), &mut candidates)?;
            if let Some(route) = self.best(&candidates, method) {
                return self.matched(route, &shortened).map(Found::Match);
            }
        }
        self.collect(&segments, None, &mut candidates)?;
        if let Some(route) = self.best(&candidates, method) {
            return self.matched(route, &segments).map(Found::Match);
        }
        let methods: Vec<_> = candidates.iter().filter_map(|route| self.only_method(*route)).collect();
        Ok(if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) })
    }

    /// Adds the routes with `verb` whose template fits `segments`.
    fn collect(&self, segments: &[&str], verb: Option<&str>, candidates: &mut Vec<usize>) -> Result<(), PathError> {
        let mut found = Vec::new();
        self.root.collect(segments, &mut found)?;
        found.retain(|route| self.binding(*route).template.verb.as_deref() == verb);
        candidates.extend(found);
        Ok(())
    }

    fn best(&self, candidates: &[usize], method: &Method) -> Option<usize> {
        let answers = |route: &usize| match &self.binding(*route).method {
            HttpMethod::Any => true,
            HttpMethod::Exactly(own) => own == method,
        };
        candidates.iter().copied().filter(answers).max()
    }

    fn only_method(&self, route: usize) -> Option<Method> {
        match &self.binding(route).method {
            HttpMethod::Any => None,
            HttpMethod::Exactly(method) => Some(method.clone()),
        }
    }

    fn matched(&self, route: usize, segments: &[&str]) -> Result<Match<'_>, PathError> {
        let binding = self.binding(route);
        let capture = |variable: &Variable| {
            let takes_rest = binding.template.segments[variable.segments.clone()].contains(&Segment::Rest);
            let end = if takes_rest { segments.len() } else { variable.segments.end };
            match &segments[variable.segments.start..end] {
                [one] if !takes_rest => path::decode(one).map(|text| text.into_owned()),
                several => path::decode_segments(several),
            }
        };
        let captures = binding.template.variables.iter().map(capture).collect::<Result<_, _>>()?;
        Ok(Match { endpoint: &self.routes[route].endpoint, binding, captures })
    }

    fn binding(&self, route: usize) -> &HttpBinding {
        let Route { endpoint, binding } = &self.routes[route];
        &endpoint.method.http[*binding]
    }
}

impl Node {
    fn insert(&mut self, segments: &[Segment], route: usize) {
        match segments.split_first() {
            None => self.end.push(route),
            Some((Segment::Rest, _)) => self.rest.push(route),
            Some((Segment::Single, rest)) => self.single.get_or_insert_default().insert(rest, route),
            Some((Segment::Literal(text), rest)) => {
                // Compared in decoded form, so that every spelling of a path finds its literal.
                let text = path::decode(text).map_or_else(|_| text.clone(), |text| text.into_owned());
                self.literals.entry(text).or_default().insert(rest, route);
            }
        }
    }

    /// Adds every route that fits. As deep as the templates, whatever the length of the path.
    fn collect(&self, segments: &[&str], found: &mut Vec<usize>) -> Result<(), PathError> {
        let Some((first, rest)) = segments.split_first() else {
            found.extend_from_slice(&self.end);
            return Ok(());
        };
        found.extend_from_slice(&self.rest);
        if !self.literals.is_empty()
            && let Some(node) = self.literals.get(&*path::decode(first)?)
        {
            node.collect(rest, found)?;
        }
        if let Some(node) = &self.single
            && !first.is_empty()
        {
            node.collect(rest, found)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto, field_descriptor_proto::Label, field_descriptor_proto::Type,
    };
    use proto::cloudstate::{Entity, EntitySpec};

    use super::*;
    use crate::spec::{Body, EntityType, MethodSpec, PathTemplate, ResponseBody, ServedSpec, SpecSettings};
    use crate::telemetry::RequestMetrics;

    /// Any method will do: the routes look at its bindings only.
    fn some_method() -> MethodSpec {
        let field = FieldDescriptorProto {
            name: Some("a".to_owned()),
            number: Some(1),
            label: Some(Label::Optional as i32),
            r#type: Some(Type::String as i32),
            ..Default::default()
        };
        let call = MethodDescriptorProto {
            name: Some("Call".to_owned()),
            input_type: Some(".t.M".to_owned()),
            output_type: Some(".t.M".to_owned()),
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: Some("t.proto".to_owned()),
            package: Some("t".to_owned()),
            message_type: vec![DescriptorProto {
                name: Some("M".to_owned()),
                field: vec![field],
                ..Default::default()
            }],
            service: vec![ServiceDescriptorProto {
                name: Some("S".to_owned()),
                method: vec![call],
                ..Default::default()
            }],
            syntax: Some("proto3".to_owned()),
            ..Default::default()
        };
        let set = FileDescriptorSet { file: vec![file] };
        let entity = Entity {
            entity_type: EntityType::Action.as_str().to_owned(),
            service_name: "t.S".to_owned(),
            ..Default::default()
        };
        let spec = EntitySpec {
            proto: prost::Message::encode_to_vec(&set).into(),
            entities: vec![entity],
            service_info: None,
        };
        let spec = ServedSpec::check(&spec, &SpecSettings::default()).expect("valid");
        MethodSpec::clone(&spec.services[0].methods[0])
    }

    fn routes(templates: &[PathTemplate]) -> Routes {
        let binding = |template: &PathTemplate| HttpBinding {
            method: HttpMethod::Any,
            template: template.clone(),
            variables: Vec::new(),
            body: Body::Discarded,
            response_body: ResponseBody::Message,
        };
        let method = MethodSpec { http: templates.iter().map(binding).collect(), ..some_method() };
        let metrics = RequestMetrics::for_method("t.S", "Call");
        Routes::new(&[Arc::new(Endpoint { method: Arc::new(method), metrics })])
    }

    /// Whether `template` fits `path`, decided the slow and obvious way.
    fn fits(template: &PathTemplate, path: &str) -> bool {
        let path = match &template.verb {
            None => path,
            Some(verb) => match path.strip_suffix(verb.as_str()).and_then(|path| path.strip_suffix(':')) {
                Some(path) => path,
                None => return false,
            },
        };
        let parts: Vec<&str> = path[1..].split('/').collect();
        let fixed = template.segments.iter().filter(|segment| **segment != Segment::Rest).count();
        let enough = if template.takes_rest() { parts.len() > fixed } else { parts.len() == fixed };
        enough
            && template.segments.iter().zip(&parts).all(|(segment, part)| match segment {
                Segment::Literal(text) => text == part,
                Segment::Single => !part.is_empty(),
                Segment::Rest => true,
            })
    }

    proptest! {
        /// The trie finds the same endpoint as trying all templates one by one.
        #[test]
        fn the_trie_agrees_with_trying_every_template(
            templates in prop::collection::vec("(/([ab]|\\*|\\{v\\})){1,3}(/\\*\\*)?(:[xy])?", 1..6),
            path in "(/[ab]{0,1}){1,4}(:[xy])?",
        ) {
            let templates: Vec<_> = templates.iter().filter_map(|text| PathTemplate::parse(text).ok()).collect();
            let rank = |at: &usize| (templates[*at].verb.is_some(), *at);
            let expected = (0..templates.len()).filter(|at| fits(&templates[*at], &path)).max_by_key(rank);
            let routes = routes(&templates);
            let found = match routes.find(&Method::GET, &path).expect("a plain path") {
                Found::Match(found) => Some(found.binding.template.clone()),
                Found::OtherMethods(_) | Found::Nothing => None,
            };
            prop_assert_eq!(found, expected.map(|at| templates[at].clone()));
        }
    }
}

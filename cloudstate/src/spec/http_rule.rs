//! The HTTP endpoints of a method, from its `google.api.http` rule.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use proto::google::api::HttpRule;
use proto::google::api::http_rule::Pattern;

use super::error::SpecError;
use super::template::PathTemplate;

/// No API is deeper than this; it bounds what a hostile specification can make of the routes.
const SEGMENTS_MAX: usize = 100;

/// One HTTP endpoint of a method.
#[derive(Clone, Debug)]
pub struct HttpBinding {
    /// Which HTTP method it answers.
    pub method: HttpMethod,
    /// Which paths.
    pub template: PathTemplate,
    /// For every variable of the template the fields that it sets, outermost first.
    pub variables: Vec<Vec<FieldDescriptor>>,
    /// What the request body is.
    pub body: Body,
    /// What the response body is.
    pub response_body: ResponseBody,
}

/// The HTTP method of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// Any: custom kind `*`.
    Any,
    /// This one.
    Exactly(http::Method),
}

/// What the body of a request is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing: it is discarded, query parameters set fields.
    Discarded,
    /// JSON of the whole message; query parameters are ignored.
    Message,
    /// JSON of this field; query parameters set other fields.
    Field(FieldDescriptor),
}

/// What the body of a response is.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody {
    /// JSON of the whole reply.
    Message,
    /// JSON of this field of the reply.
    Field(FieldDescriptor),
}

/// The endpoints of `method`: those of `rule` and its additional bindings, or without a rule the
/// generated `POST /<service>/<method>`.
pub(super) fn bindings(method: &MethodDescriptor, rule: Option<&HttpRule>) -> Result<Vec<HttpBinding>, SpecError> {
    let Some(rule) = rule else {
        return Ok(vec![generated(method)?]);
    };
    let mut bindings = vec![binding(method, rule)?];
    for additional in &rule.additional_bindings {
        if !additional.additional_bindings.is_empty() {
            return Err(config(format!(
                "Only one level of additionalBindings supported, but [{}] has more than one!",
                rendered(rule)
            )));
        }
        bindings.push(binding(method, additional)?);
    }
    Ok(bindings)
}

fn generated(method: &MethodDescriptor) -> Result<HttpBinding, SpecError> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    Ok(HttpBinding {
        method: HttpMethod::Exactly(http::Method::POST),
        template: PathTemplate::parse(&path)?,
        variables: Vec::new(),
        body: Body::Message,
        response_body: ResponseBody::Message,
    })
}

fn binding(method: &MethodDescriptor, rule: &HttpRule) -> Result<HttpBinding, SpecError> {
    let selector = &rule.selector;
    if !selector.is_empty() && selector != method.full_name() {
        return Err(config(format!("Rule selector [{selector}] must be empty or [{}]", method.full_name())));
    }
    let (http_method, path) = pattern(rule)?;
    let template = PathTemplate::parse(path)?;
    if template.segments.len() > SEGMENTS_MAX {
        return Err(config(format!("Path template of [{}] has more than {SEGMENTS_MAX} segments", method.full_name())));
    }
    let variables = template
        .variables
        .iter()
        .map(|variable| path_fields(method, &variable.field_path))
        .collect::<Result<_, _>>()?;
    Ok(HttpBinding {
        method: http_method,
        template,
        variables,
        body: body(method, &rule.body)?,
        response_body: response_body(method, &rule.response_body)?,
    })
}

fn pattern(rule: &HttpRule) -> Result<(HttpMethod, &str), SpecError> {
    let exactly = HttpMethod::Exactly;
    Ok(match &rule.pattern {
        None => {
            return Err(config(format!("Pattern missing for rule [{}]!", rendered(rule))));
        }
        Some(Pattern::Get(path)) => (exactly(http::Method::GET), path),
        Some(Pattern::Put(path)) => (exactly(http::Method::PUT), path),
        Some(Pattern::Post(path)) => (exactly(http::Method::POST), path),
        Some(Pattern::Delete(path)) => (exactly(http::Method::DELETE), path),
        Some(Pattern::Patch(path)) => (exactly(http::Method::PATCH), path),
        Some(Pattern::Custom(custom)) => match custom.kind.as_str() {
            "*" => (HttpMethod::Any, &custom.path),
            "HEAD" => (exactly(http::Method::HEAD), &custom.path),
            "OPTIONS" => (exactly(http::Method::OPTIONS), &custom.path),
            other => {
                return Err(config(format!("Only Custom patterns with [*] kind supported but [{other}] found!")));
            }
        },
    })
}

fn path_fields(method: &MethodDescriptor, names: &[String]) -> Result<Vec<FieldDescriptor>, SpecError> {
    let mut message = method.input();
    let mut fields = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let field = message.get_field_by_name(name).ok_or_else(|| {
            config(format!(
                "Unknown field name [{}] in type [{}] reference in path template for method [{}]",
                names.join("."),
                method.input().full_name(),
                method.full_name()
            ))
        })?;
        let full_name = field.full_name();
        if field.is_map() {
            return Err(config(format!("Map parameters [{full_name}] are not allowed as path variables")));
        }
        if field.is_list() {
            return Err(config(format!("Repeated parameters [{full_name}] are not allowed as path variables")));
        }
        let last = index + 1 == names.len();
        match field.kind() {
            Kind::Message(_) if last => {
                return Err(config("Message path parameters not supported!".to_owned()));
            }
            Kind::Message(inner) => message = inner,
            _ if last => {}
            _ => {
                return Err(config(format!(
                    "Unknown field name [{}] in type [{}] reference in path template for method [{}]",
                    names.join("."),
                    method.input().full_name(),
                    method.full_name()
                )));
            }
        }
        fields.push(field);
    }
    Ok(fields)
}

fn body(method: &MethodDescriptor, name: &str) -> Result<Body, SpecError> {
    match name {
        "" => Ok(Body::Discarded),
        "*" => Ok(Body::Message),
        name => {
            let field = method.input().get_field_by_name(name).ok_or_else(|| {
                config(format!("Body configured to [{name}] but that field does not exist on input type."))
            })?;
            if field.is_list() || field.is_map() {
                return Err(config(format!("Body configured to [{name}] but that field is a repeated field.")));
            }
            Ok(Body::Field(field))
        }
    }
}

fn response_body(method: &MethodDescriptor, name: &str) -> Result<ResponseBody, SpecError> {
    if name.is_empty() {
        return Ok(ResponseBody::Message);
    }
    let output: MessageDescriptor = method.output();
    match output.get_field_by_name(name) {
        Some(field) => Ok(ResponseBody::Field(field)),
        None => Err(config(format!("Response body field [{name}] does not exist on type [{}]", output.full_name()))),
    }
}

fn config(text: String) -> SpecError {
    SpecError::Http(text)
}

/// `rule` as the reference prints rules, so that its texts can be compared word for word.
fn rendered(rule: &HttpRule) -> String {
    let pattern = match &rule.pattern {
        None => "Empty".to_owned(),
        Some(Pattern::Get(path)) => format!("Get({path})"),
        Some(Pattern::Put(path)) => format!("Put({path})"),
        Some(Pattern::Post(path)) => format!("Post({path})"),
        Some(Pattern::Delete(path)) => format!("Delete({path})"),
        Some(Pattern::Patch(path)) => format!("Patch({path})"),
        Some(Pattern::Custom(custom)) => {
            format!("Custom(CustomHttpPattern({},{},UnknownFieldSet(Map())))", custom.kind, custom.path)
        }
    };
    let additional: Vec<_> = rule.additional_bindings.iter().map(rendered).collect();
    format!(
        "HttpRule({},{pattern},{},{},Vector({}),UnknownFieldSet(Map()))",
        rule.selector,
        rule.body,
        rule.response_body,
        additional.join(", ")
    )
}

//! Path templates of `google.api.http`: `/carts/{user_id}/items`, `/{name=shelves/*}:watch`, `/files/{path=**}`.
//!
//! ```text
//! Template  = "/" Segments [ ":" Verb ]
//! Segments  = Segment { "/" Segment }
//! Segment   = "**" | "*" | Variable | Literal
//! Variable  = "{" FieldPath [ "=" Segments ] "}"
//! FieldPath = Ident { "." Ident }
//! ```

use std::fmt;
use std::ops::Range;

/// A parsed template. Variables are ranges of its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// What the segments of a path must look like, in order.
    pub segments: Vec<Segment>,
    /// The parts of a path that become fields of the request.
    pub variables: Vec<Variable>,
    /// What the path must end with, after a colon.
    pub verb: Option<String>,
    source: String,
}

/// What one segment of a path must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `*`: any one segment that is not empty.
    Single,
    /// `**`: all the rest of the path. Always last.
    Rest,
}

/// A part of the path that becomes a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The names of the fields, outermost first.
    pub field_path: Vec<String>,
    /// Which of the template's segments it captures.
    pub segments: Range<usize>,
    /// Where its name starts in the template, from 1.
    pub column: usize,
}

/// A template that does not follow the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    message: &'static str,
    column: usize,
    template: String,
}

const NO_SLASH: &str = "Template must start with a slash";
const NESTED: &str = "Variable segments may not be nested";
const UNCLOSED: &str = "Unclosed variable or unexpected character";
const UNEXPECTED: &str = "Expected '/', ':', path literal character, or end of input";
const REST_NOT_LAST: &str = "Multi segment matchers (**) may only be in the last position of the template";
const DUPLICATE: &str = "Duplicate path in template";

impl PathTemplate {
    /// Parses `template`.
    ///
    /// # Errors
    /// What is wrong and at which column.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser::new(template);
        parser.template()?;
        let Parser { segments, variables, verb, .. } = parser;
        Ok(Self { segments, variables, verb, source: template.to_owned() })
    }

    /// Whether the last segment takes all the rest of a path.
    pub fn takes_rest(&self) -> bool {
        self.segments.last() == Some(&Segment::Rest)
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, column, template } = self;
        if *column >= template.chars().count() {
            write!(f, "{message} at end of input of '{template}'")
        } else {
            write!(f, "{message} at character {column} of '{template}'")
        }
    }
}

impl std::error::Error for TemplateError {}

struct Parser<'a> {
    template: &'a str,
    chars: Vec<char>,
    at: usize,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    verb: Option<String>,
}

impl<'a> Parser<'a> {
    fn new(template: &'a str) -> Self {
        Self {
            template,
            chars: template.chars().collect(),
            at: 0,
            segments: Vec::new(),
            variables: Vec::new(),
            verb: None,
        }
    }

    fn template(&mut self) -> Result<(), TemplateError> {
        if !self.take('/') {
            return Err(self.error(NO_SLASH, self.at));
        }
        loop {
            self.segment()?;
            match self.peek() {
                None => return Ok(()),
                Some('/') => self.at += 1,
                Some(':') => {
                    self.at += 1;
                    self.verb = Some(self.literal());
                    return self.end();
                }
                Some(_) => return Err(self.error(UNEXPECTED, self.at)),
            }
        }
    }

    fn segment(&mut self) -> Result<(), TemplateError> {
        if self.peek() == Some('{') {
            self.at += 1;
            self.variable()
        } else {
            self.plain_segment()
        }
    }

    /// `*`, `**` or a literal.
    fn plain_segment(&mut self) -> Result<(), TemplateError> {
        if self.segments.last() == Some(&Segment::Rest) {
            return Err(self.error(REST_NOT_LAST, self.at));
        }
        let segment = if !self.take('*') {
            Segment::Literal(self.literal())
        } else if self.take('*') {
            Segment::Rest
        } else {
            Segment::Single
        };
        self.segments.push(segment);
        Ok(())
    }

    fn variable(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        let field_path = self.field_path()?;
        if self.variables.iter().any(|variable| variable.field_path == field_path) {
            return Err(self.error(DUPLICATE, start));
        }
        let first = self.segments.len();
        if self.take('=') {
            loop {
                if self.peek() == Some('{') {
                    return Err(self.error(NESTED, self.at));
                }
                self.plain_segment()?;
                if !self.take('/') {
                    break;
                }
            }
        } else if self.segments.last() == Some(&Segment::Rest) {
            return Err(self.error(REST_NOT_LAST, start));
        } else {
            self.segments.push(Segment::Single);
        }
        if !self.take('}') {
            return Err(self.error(UNCLOSED, self.at));
        }
        let segments = first..self.segments.len();
        self.variables.push(Variable { field_path, segments, column: start + 1 });
        Ok(())
    }

    fn field_path(&mut self) -> Result<Vec<String>, TemplateError> {
        let mut path = vec![self.ident()?];
        while self.take('.') {
            path.push(self.ident()?);
        }
        Ok(path)
    }

    fn ident(&mut self) -> Result<String, TemplateError> {
        if !self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            return Err(self.error(UNCLOSED, self.at));
        }
        Ok(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
    }

    fn literal(&mut self) -> String {
        self.take_while(|c| !matches!(c, '*' | '{' | '}' | '/' | ':' | '\n'))
    }

    fn end(&self) -> Result<(), TemplateError> {
        if self.at < self.chars.len() { Err(self.error(UNEXPECTED, self.at)) } else { Ok(()) }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&accept) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn error(&self, message: &'static str, at: usize) -> TemplateError {
        TemplateError { message, column: at + 1, template: self.template.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is parsed prints as it was written, and nothing makes the parser panic.
        #[test]
        fn templates_print_as_they_were_written(template in "(/[a-z*{}=.:é]{0,6}){0,4}") {
            if let Ok(parsed) = PathTemplate::parse(&template) {
                prop_assert_eq!(parsed.to_string(), template);
                for variable in &parsed.variables {
                    prop_assert!(variable.segments.end <= parsed.segments.len());
                    prop_assert!(!variable.segments.is_empty());
                }
            }
        }
    }

    fn error(template: &str) -> String {
        PathTemplate::parse(template).expect_err(template).to_string()
    }

    #[test]
    fn every_mistake_has_its_text_and_column() {
        for (template, text) in [
            ("no/initial/slash", "Template must start with a slash at character 1 of 'no/initial/slash'"),
            ("foo", "Template must start with a slash at character 1 of 'foo'"),
            ("", "Template must start with a slash at end of input of ''"),
            ("/foo/{bar={baz}}", "Variable segments may not be nested at character 11 of '/foo/{bar={baz}}'"),
            ("/foo/{bar*}", "Unclosed variable or unexpected character at character 10 of '/foo/{bar*}'"),
            ("/foo/{bar", "Unclosed variable or unexpected character at end of input of '/foo/{bar'"),
            ("/foo/{bar=ba*}", "Unclosed variable or unexpected character at character 13 of '/foo/{bar=ba*}'"),
            ("/foo/{1bar}", "Unclosed variable or unexpected character at character 7 of '/foo/{1bar}'"),
            ("/f*o", "Expected '/', ':', path literal character, or end of input at character 3 of '/f*o'"),
            ("/foo:a/b", "Expected '/', ':', path literal character, or end of input at character 7 of '/foo:a/b'"),
            (
                "/foo/**/bar",
                "Multi segment matchers (**) may only be in the last position of the template at character 9 of '/foo/**/bar'",
            ),
            (
                "/{duplicated}/{duplicated}",
                "Duplicate path in template at character 16 of '/{duplicated}/{duplicated}'",
            ),
        ] {
            assert_eq!(error(template), text);
        }
    }

    #[test]
    fn variables_are_ranges_of_segments() {
        let template = PathTemplate::parse("/v1/{a.b=x/*/**}:watch").expect("valid");
        assert_eq!(template.verb.as_deref(), Some("watch"));
        assert_eq!(
            template.segments,
            [Segment::Literal("v1".into()), Segment::Literal("x".into()), Segment::Single, Segment::Rest]
        );
        assert_eq!(template.variables[0].field_path, ["a", "b"]);
        assert_eq!(template.variables[0].segments, 1..4);
    }
}

//! Splits text into SQL statements at the semicolons that end them. Pure.

/// The statements found so far. Text comes in pieces; what follows the last semicolon waits for more.
#[derive(Debug, Default)]
pub(super) struct Statements {
    text: String,
    looked: usize,
    inside: Inside,
}

/// What a semicolon is part of, if of anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    Quotes(char),
    LineComment,
    BlockComment,
}

impl Statements {
    pub(super) fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The next complete statement, without its semicolon.
    pub(super) fn next(&mut self) -> Option<String> {
        loop {
            let end = self.find_end()?;
            let statement: String = self.text.drain(..=end).collect();
            self.looked = 0;
            let statement = statement.trim_end_matches(';').trim();
            if !is_empty(statement) {
                return Some(statement.to_owned());
            }
        }
    }

    /// What is left at the end of all text; it needs no semicolon.
    pub(super) fn rest(self) -> Option<String> {
        let rest = self.text.trim();
        (!is_empty(rest)).then(|| rest.to_owned())
    }

    /// How much waits for a semicolon.
    pub(super) fn waiting(&self) -> usize {
        self.text.len()
    }

    fn find_end(&mut self) -> Option<usize> {
        let mut rest = self.text[self.looked..].char_indices().peekable();
        let from = self.looked;
        while let Some((at, it)) = rest.next() {
            let at = from + at;
            let next = rest.peek().map(|(_, next)| *next);
            // What this is only the next character tells.
            let opens = self.inside == Inside::Nothing && matches!(it, '-' | '/');
            let closes = self.inside == Inside::BlockComment && it == '*';
            if (opens || closes) && next.is_none() {
                self.looked = at;
                return None;
            }
            match self.inside {
                Inside::Quotes(quote) if it == quote => self.inside = Inside::Nothing,
                Inside::LineComment if it == '\n' => self.inside = Inside::Nothing,
                Inside::BlockComment if it == '*' && next == Some('/') => {
                    rest.next();
                    self.inside = Inside::Nothing;
                }
                Inside::Quotes(_) | Inside::LineComment | Inside::BlockComment => {}
                Inside::Nothing => match (it, next) {
                    (';', _) => return Some(at),
                    ('\'' | '"' | '`', _) => self.inside = Inside::Quotes(it),
                    ('[', _) => self.inside = Inside::Quotes(']'),
                    ('-', Some('-')) => self.inside = Inside::LineComment,
                    ('/', Some('*')) => {
                        rest.next();
                        self.inside = Inside::BlockComment;
                    }
                    _ => {}
                },
            }
        }
        self.looked = self.text.len();
        None
    }
}

/// Whether there is nothing but space and comments.
fn is_empty(statement: &str) -> bool {
    let mut rest = statement.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start()
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest).trim_start()
        } else {
            return rest.is_empty();
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<String> {
        let mut statements = Statements::default();
        statements.add(text);
        let mut all: Vec<_> = std::iter::from_fn(|| statements.next()).collect();
        all.extend(statements.rest());
        all
    }

    #[test]
    fn semicolons_in_quotes_and_comments_end_nothing() {
        let text = "SELECT ';' , \";\" -- ; no\n; /* ; */ SELECT 'it''s;'; ;\n-- only a comment;\n; SELECT 3";
        assert_eq!(split(text), ["SELECT ';' , \";\" -- ; no", "/* ; */ SELECT 'it''s;'", "SELECT 3"]);
        assert_eq!(split("  \n -- nothing\n"), [""; 0]);
    }

    proptest! {
        /// However the text is cut into pieces, the statements are the same.
        #[test]
        fn pieces_make_no_difference(text in "[a;'\"\n*/ -]{0,60}", cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut statements = Statements::default();
            let mut all = Vec::new();
            for piece in cuts.windows(2) {
                statements.add(&text[piece[0]..piece[1]]);
                all.extend(std::iter::from_fn(|| statements.next()));
            }
            all.extend(statements.rest());
            prop_assert_eq!(all, split(&text));
        }
    }
}

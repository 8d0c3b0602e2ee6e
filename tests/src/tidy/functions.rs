//! Finds functions and their lengths by their braces, without parsing Rust: comments, strings and
//! characters are blanked first, and what is left is balanced in every file that compiles.

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// What follows `fn`.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// Lines from its `fn` to its last brace.
    pub len: usize,
}

/// The functions of a file, those inside of others and of macros included.
pub fn functions(source: &str) -> Vec<Function> {
    let code = blank(source);
    let starts = code.match_indices("fn ").map(|(at, _)| at);
    let whole = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    starts.filter(whole).filter_map(|at| function(&code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let rest = &code[at..];
    let name = rest[3..].trim_start();
    let end = name.find(|c: char| !(c.is_alphanumeric() || "_$".contains(c)))?;
    let len = body_end(rest)?;
    Some(Function {
        name: name.get(..end).filter(|name| !name.is_empty())?.to_owned(),
        line: code[..at].matches('\n').count() + 1,
        len: rest[..len].matches('\n').count() + 1,
    })
}

/// Where the body of the function that begins `code` ends; `None` without a body.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0, 0);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' if round == 0 => return None,
            b')' | b']' => round -= 1,
            b';' if round == 0 && curly == 0 => return None,
            b'{' => curly += 1,
            b'}' if curly == 0 => return None,
            b'}' => curly -= 1,
            _ => continue,
        }
        if byte == b'}' && curly == 0 && round == 0 {
            return Some(at);
        }
    }
    None
}

/// The same text with blanks for comments, strings and characters; lines stay where they are.
fn blank(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let len = opaque_len(rest, code.chars().next_back()).unwrap_or(0);
        let (taken, kept) = if len == 0 { (c.len_utf8(), true) } else { (len, false) };
        let blanked = |c: char| if c == '\n' || kept { c } else { ' ' };
        code.extend(rest[..taken].chars().map(blanked));
        rest = &rest[taken..];
    }
    code
}

/// The length of what begins `text`, if it is a comment, a string or a character.
fn opaque_len(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_len(text));
    }
    if text.starts_with('"') {
        return Some(quoted_len(text, '"'));
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with('r') && (!in_word || before == Some('b')) {
        return raw_string_len(text);
    }
    text.starts_with('\'').then(|| character_len(text)).flatten()
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match rest {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        if depth == 0 {
            break;
        }
    }
    at
}

/// From the opening to the closing quote.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&end).unwrap_or(body.len()) + end.len())
}

/// A character like `'x'` or `'\n'`; a lifetime like `'a` is none.
fn character_len(text: &str) -> Option<usize> {
    let mut chars = text.chars().skip(1);
    match (chars.next()?, chars.next()?) {
        ('\\', _) => Some(quoted_len(text, '\'')),
        (c, '\'') => Some(2 + c.len_utf8()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(String, usize, usize)> {
        functions(source).into_iter().map(|f| (f.name, f.line, f.len)).collect()
    }

    fn one(name: &str, line: usize, len: usize) -> Vec<(String, usize, usize)> {
        vec![(name.to_owned(), line, len)]
    }

    #[test]
    fn a_function_is_as_long_as_from_fn_to_its_brace() {
        assert_eq!(found("fn a() {}"), one("a", 1, 1));
        assert_eq!(
            found("/// Doc.\npub const fn a(\n    x: u8,\n) -> u8 {\n    x\n}\n"),
            one("a", 2, 5)
        );
        let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(70));
        assert_eq!(found(&long), one("long", 1, 72));
    }

    #[test]
    fn braces_that_are_no_code_do_not_count() {
        for body in [
            r#"let x = "}";"#,
            r#"let x = "\"}";"#,
            "let x = r#\"}\"}\"#;",
            "let x = br\"}\";",
            "let x = ['}', '\\'', '}'];",
            "let x = b'}';",
            "// }",
            "/* } /* } */ } */",
            "let x: &'a str = y::<'a>();",
        ] {
            let source = format!("fn a<'a>() {{\n{body}\nlast();\n}}\nstruct S {{}}\n");
            assert_eq!(found(&source), one("a", 1, 4), "{body}");
        }
    }

    #[test]
    fn what_has_no_body_is_none() {
        assert_eq!(found("trait T {\n    fn a(&self, x: [u8; 2]);\n}\ntype F = fn (u8);\n"), []);
        assert_eq!(
            found("struct S { call: fn (u8) -> u8 }\n// fn b() {}\nlet s = \"fn c() {}\";"),
            []
        );
    }

    #[test]
    fn the_inner_and_the_outer_one_are_both_found() {
        let source = "fn outer() {\n    fn inner() {\n    }\n}\n";
        assert_eq!(found(source), [one("outer", 1, 4), one("inner", 2, 2)].concat());
        assert_eq!(found("macro_rules! m { ($n:ident) => { fn $n() { } } }"), one("$n", 1, 1));
    }
}

//! What a text of the page would load: HTML, CSS and JavaScript, all read as plain text. Pure.

/// Stands before an address. What a module is imported from is no address unless it says where it begins.
const BEFORE: [(&str, Kind); 12] = [
    ("src=", Kind::Address),
    ("href=", Kind::Address),
    ("action=", Kind::Address),
    ("poster=", Kind::Address),
    ("url(", Kind::Address),
    ("URL(", Kind::Address),
    ("fetch(", Kind::Address),
    ("EventSource(", Kind::Address),
    ("WebSocket(", Kind::Address),
    ("Worker(", Kind::Address),
    ("from", Kind::Module),
    ("import", Kind::Module),
];
/// It goes without quotes as well.
const BARE: &str = "url(";
/// From here on the address is made when the page runs.
const MADE: &str = "${";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Address,
    Module,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// A path on this node, without what follows a `#`.
    Within(String),
    /// As it is written.
    Elsewhere(String),
}

/// Of a text that stands at a path. What leads into the API, into the page itself or to what is only known when it runs is left out.
pub fn links(path: &str, text: &str) -> Vec<Link> {
    let of = |(before, kind): (&'static str, Kind)| {
        let behind = text
            .match_indices(before)
            .filter_map(move |(at, _)| text.get(at + before.len()..));
        behind.filter_map(move |rest| Some((address(rest, before)?, kind)))
    };
    let found = BEFORE.into_iter().flat_map(of);
    found.filter_map(|(address, kind)| link(path, address, kind)).collect()
}

/// What stands in the quotes that follow.
fn address<'a>(rest: &'a str, before: &str) -> Option<&'a str> {
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('(') {
        Some(inner) if before == "import" => inner.trim_start(),
        _ => rest,
    };
    match rest.chars().next()? {
        quote @ ('"' | '\'' | '`') => rest.get(1..)?.split_once(quote).map(|(address, _)| address),
        _ if before == BARE => rest.split_once(')').map(|(address, _)| address.trim_end()),
        _ => None,
    }
}

fn link(path: &str, address: &str, kind: Kind) -> Option<Link> {
    let (known, is_made) = address
        .split_once(MADE)
        .map_or((address, false), |(known, _)| (known, true));
    if known.starts_with("//") || known.contains("://") {
        return Some(Link::Elsewhere(address.to_owned()));
    }
    let known = known.split_once('#').map_or(known, |(before, _)| before);
    let is_path = known.starts_with('/');
    let says_where = is_path || known.starts_with("./") || known.starts_with("../");
    // `data:`, `blob:` and the like carry what they are.
    let has_scheme = known.split('/').next().is_some_and(|first| first.contains(':'));
    let loads_nothing = known.is_empty() || is_made || has_scheme || known.starts_with("/v1/");
    if loads_nothing || (kind == Kind::Module && !says_where) {
        return None;
    }
    Some(Link::Within(if is_path {
        known.to_owned()
    } else {
        joined(path, known)
    }))
}

/// A path that is told from where another one is.
fn joined(path: &str, relative: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::Link::{Elsewhere, Within};
    use super::{Link, links};

    const FROM: &str = "/dashboard/7/app.js";

    fn check(text: &str, expected: &[Link]) {
        assert_eq!(links(FROM, text), expected, "{text}");
    }

    fn own(path: &str) -> Link {
        Within(path.to_owned())
    }

    fn other(address: &str) -> Link {
        Elsewhere(address.to_owned())
    }

    #[test]
    fn what_is_imported_is_found_however_it_is_written() {
        let dom = [own("/dashboard/7/dom.js")];
        for text in [
            "import { a } from './dom.js';",
            "import {\n  a,\n} from \"./dom.js\";",
            "import './dom.js';",
            "const dom = await import('./dom.js');",
            "const dom = await import( `./dom.js` );",
            "export * from './dom.js';",
            "import * as dom from '../7/dom.js';",
            "new Worker(new URL('./dom.js', import.meta.url));",
        ] {
            check(text, &dom);
        }
        check("import x from '../../x.js';", &[own("/x.js")]);
        // a word in a sentence is no module
        check("say(`two from 'somebody'`);", &[]);
    }

    #[test]
    fn what_is_fetched_is_found_in_any_quotes() {
        check("fetch(`words.json`)", &[own("/dashboard/7/words.json")]);
        check("fetch(\"/words.json\")", &[own("/words.json")]);
        check("fetch( '/words.json' )", &[own("/words.json")]);
        check("new EventSource(`/stream`)", &[own("/stream")]);
        check("fetch(`https://cdn/${name}`)", &[other("https://cdn/${name}")]);
        check("fetch(`${url}/v1/dashboard`)", &[]);
        check(
            "fetch(`/v1/broadcasts/${id}`); fetch(base + path, {}); fetch('/v1/users')",
            &[],
        );
    }

    #[test]
    fn what_markup_and_style_load_is_found() {
        check(
            "<link href=\"/x.css\"> <img src='y.svg'>",
            &[own("/dashboard/7/y.svg"), own("/x.css")],
        );
        check("<a href=\"#main\"> <img src=\"data:image/png;base64,A/B\">", &[]);
        check("<a href=\"/x#y\">", &[own("/x")]);
        check(
            "url(//fonts/x) url('z.png') url( z.png )",
            &[other("//fonts/x"), own("/dashboard/7/z.png"), own("/dashboard/7/z.png")],
        );
        check("@import \"./more.css\";", &[own("/dashboard/7/more.css")]);
        check(
            "<script src=\"https://cdn/x.js\"></script>",
            &[other("https://cdn/x.js")],
        );
    }
}

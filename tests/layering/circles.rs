//! No import circles: between the files and folders that stand side by side, "names" is an order. A child may
//! name what its own `mod.rs` holds, and a name that a `mod.rs` passes on counts as the file where it stands.
//! What only tests name does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{blank_comments_and_strings, expand, line_of, word_starts};

/// The circles that are left: the folder, and who is in it. This list only shrinks.
const LEFT: &[(&str, &[&str])] = &[];

/// A path of modules below the crate's root, and then perhaps an item.
type Names = Vec<String>;

/// Who names whom between siblings of one folder, and where first.
type Arrows = BTreeMap<(String, String), String>;

/// The modules of the crate that are not tests.
#[derive(Default)]
struct Tree {
    code: BTreeMap<Names, (String, String)>,
    /// What each module calls by another module's name, and whose it is.
    imports: BTreeMap<(Names, String), Names>,
}

impl Tree {
    /// Of `(path below src, text)`.
    fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tree = Self::default();
        for (file, text) in files {
            let mut module: Names = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
                module.pop();
            }
            let is_test =
                module.iter().any(|part| part == "tests" || part == "testing") || text.contains("#![cfg(test)]");
            if !is_test && file != "main.rs" {
                tree.code.insert(module, (file.to_owned(), without_tests(&blank_comments_and_strings(text))));
            }
        }
        for (module, (_, code)) in &tree.code {
            for at in word_starts(code, "use") {
                for path in expand(&code[at + 3..], usize::MAX) {
                    let path = path.split("::").map(str::to_owned).collect::<Names>();
                    if let Some(target) = tree.absolute(module, &path)
                        && let Some(name) = target.last().cloned()
                    {
                        tree.imports.insert((module.clone(), name), target);
                    }
                }
            }
        }
        tree
    }

    /// The path from the crate's root of what `module` calls `path`; none of what lies in other crates.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Names> {
        let climbs = path.iter().take_while(|part| *part == "super").count();
        let (base, rest) = match path.first().map(String::as_str)? {
            "crate" | "privlink" => (&module[..0], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (&module[..module.len().checked_sub(climbs)?], &path[climbs..]),
            child if self.code.contains_key(&[module, &[child.to_owned()]].concat()) => (module, path),
            _ => return None,
        };
        let rest = rest.iter().filter(|part| *part != "self").cloned();
        Some(base.iter().cloned().chain(rest).collect())
    }

    /// The module that `path` leads to, through the names that modules pass on.
    fn home(&self, path: &[String], passed_on: usize) -> Names {
        let known = (0..=path.len()).rev().find(|length| self.code.contains_key(&path[..*length]));
        let (module, rest) = path.split_at(known.unwrap_or(0));
        match rest.first().and_then(|name| self.imports.get(&(module.to_vec(), name.clone()))) {
            Some(target) if passed_on < 8 && target != path => self.home(&[target, &rest[1..]].concat(), passed_on + 1),
            _ => module.to_vec(),
        }
    }

    /// The arrows between siblings, by the folder that they stand in.
    fn arrows(&self) -> BTreeMap<Names, Arrows> {
        let mut folders: BTreeMap<Names, Arrows> = BTreeMap::new();
        for (module, (file, code)) in &self.code {
            for root in ["crate", "super", "self"] {
                for at in word_starts(code, root) {
                    if code[..at].trim_end().ends_with("::") || !code[at + root.len()..].trim_start().starts_with("::")
                    {
                        continue;
                    }
                    for path in expand(&code[at..], usize::MAX) {
                        let path = path.split("::").map(str::to_owned).collect::<Names>();
                        let Some(target) = self.absolute(module, &path) else { continue };
                        let home = self.home(&target, 0);
                        let shared = module.iter().zip(&home).take_while(|(one, other)| one == other).count();
                        if let (Some(from), Some(to)) = (module.get(shared), home.get(shared)) {
                            let place = format!("{file}:{} names `{}`", line_of(code, at), target.join("::"));
                            let arrows = folders.entry(module[..shared].to_vec()).or_default();
                            arrows.entry((from.clone(), to.clone())).or_insert(place);
                        }
                    }
                }
            }
        }
        folders
    }

    /// Every circle: its folder, who is in it, and the arrows between those.
    fn circles(&self) -> Vec<(String, Vec<String>, Vec<String>)> {
        let mut circles = Vec::new();
        for (folder, arrows) in self.arrows() {
            let mut left: BTreeSet<&String> = arrows.keys().map(|(from, _)| from).collect();
            while let Some(first) = left.pop_first() {
                let there = reached(&arrows, first);
                let around: Vec<String> =
                    there.into_iter().filter(|one| reached(&arrows, one).contains(first)).collect();
                if around.len() > 1 {
                    left.retain(|one| !around.contains(one));
                    let among = arrows.iter().filter(|((from, to), _)| around.contains(from) && around.contains(to));
                    let places = among.map(|((from, to), place)| format!("    {from} → {to}: {place}")).collect();
                    circles.push((folder.join("/"), around, places));
                }
            }
        }
        circles
    }
}

/// All that `from` names, and what those name, and so on.
fn reached(arrows: &Arrows, from: &str) -> BTreeSet<String> {
    let (mut reached, mut waiting) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(one) = waiting.pop() {
        let named = arrows.keys().filter(|(from, _)| *from == one).map(|(_, to)| to);
        waiting.extend(named.filter(|to| reached.insert((*to).clone())).cloned().collect::<Vec<_>>());
    }
    reached
}

/// The code without the items that are built for tests only.
fn without_tests(code: &str) -> String {
    let mut left = code.to_owned();
    while let Some(from) = left.find("#[cfg(test)]") {
        let mut depth = 0_usize;
        let end = left[from..].char_indices().find_map(|(at, character)| {
            match character {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth == 0 && matches!(character, '}' | ';')).then_some(from + at + 1)
        });
        let end = end.unwrap_or(left.len());
        let blank: String = left[from..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        left.replace_range(from..end, &blank);
    }
    left
}

#[test]
fn nothing_is_named_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    crate::collect(&root, &mut paths);
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    let circles = Tree::of(texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))).circles();
    let is_left = |folder: &str, around: &[String]| LEFT.iter().any(|left| left.0 == folder && left.1 == around);
    let new: Vec<String> = circles
        .iter()
        .filter(|(folder, around, _)| !is_left(folder, around))
        .map(|(folder, around, places)| format!("src/{folder}: {around:?}\n{}", places.join("\n")))
        .collect();
    assert!(new.is_empty(), "{} circles that the list does not hold:\n{}", new.len(), new.join("\n"));
    for left in LEFT {
        let stands = circles.iter().any(|(folder, around, _)| folder == left.0 && around == left.1);
        assert!(stands, "this circle is opened or smaller: shorten the list: {left:?}");
    }
}

/// The checker itself, on planted files.
mod checker {
    use super::*;

    /// Who is in each circle of these files.
    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        Tree::of(files.iter().copied()).circles().into_iter().map(|(_, around, _)| around).collect()
    }

    #[test]
    fn a_circle_is_found_at_every_depth() {
        for files in [
            &[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() -> crate::a::A {}")][..],
            &[("a/mod.rs", ""), ("a/x.rs", "use crate::b::B;"), ("b.rs", "use crate::a::X;")],
            &[
                ("m/a.rs", "use super::b;"),
                ("m/b.rs", "use super::{c, d};"),
                ("m/c.rs", "use super::a::A;"),
                ("m/d.rs", ""),
            ],
            &[("m/mod.rs", "pub use a::A;"), ("m/a.rs", "use super::b::B;"), ("m/b.rs", "use super::A;")],
        ] {
            assert_eq!(circles(files).len(), 1, "{files:?}");
        }
        let three = [("m/a.rs", "use super::b;"), ("m/b.rs", "use super::c;"), ("m/c.rs", "use super::a;")];
        assert_eq!(circles(&three), [["a", "b", "c"]]);
    }

    #[test]
    fn an_order_is_none() {
        for files in [
            &[("a.rs", "use crate::b::B;"), ("b.rs", "// crate::a\n#[cfg(test)]\nmod tests { use crate::a::A; }")][..],
            &[("a/mod.rs", "use x::X;"), ("a/x.rs", "use super::A;")],
            &[("a.rs", "use crate::b;"), ("b/mod.rs", "mod tests;"), ("b/tests.rs", "use crate::a;")],
            &[("m/mod.rs", "pub use a::A;"), ("m/a.rs", ""), ("m/b.rs", "use super::A;")],
        ] {
            assert_eq!(circles(files), Vec::<Vec<String>>::new(), "{files:?}");
        }
    }
}

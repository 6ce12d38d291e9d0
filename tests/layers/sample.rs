//! The reader itself on small samples: what it must find, and what it must pass over.

use crate::{arrows, circles, floors::Map, modules::Crates};

fn arrows_of(files: &[(&str, &str)]) -> Vec<String> {
    arrows::all(&Crates::of("house", files))
        .into_iter()
        .map(|((from, to), names)| {
            let names: Vec<String> = names.into_iter().collect();
            format!("{} -> {}: {}", from.display(), to.display(), names.join(", "))
        })
        .collect()
}

#[test]
fn imports_paths_and_macros_are_arrows_and_tests_are_none() {
    let found = arrows_of(&[
        ("", "mod a; mod b;"),
        (
            "a",
            "use crate::b::One; fn f() { crate::b::two(); println!(\"{}\", super::b::THREE); }\n#[cfg(test)] mod tests { use crate::b::Four; }",
        ),
        ("b", "pub struct One; pub fn two() {} pub const THREE: u8 = 3; pub struct Four;"),
    ]);
    assert_eq!(found, ["a -> b: One, THREE, two"]);
}

#[test]
fn a_reexport_leads_to_the_file_that_defines() {
    let found = arrows_of(&[
        ("", "mod a; mod b;"),
        ("a", "use crate::b::{Deep, self}; fn f() -> b::Shallow { b::Shallow }"),
        ("b", "mod deep; pub use deep::Deep; pub struct Shallow;"),
        ("b::deep", "pub struct Deep;"),
    ]);
    assert_eq!(found, ["a -> b: Shallow", "a -> b/deep: Deep"]);
}

#[test]
fn a_circle_of_parent_and_child_is_one() {
    let files = [
        ("", "mod a;"),
        ("a", "mod child; pub struct Error; fn f() { child::g(); }"),
        ("a::child", "use super::Error; pub fn g() -> Error { Error }"),
    ];
    let circles = circles::of(&arrows::all(&Crates::of("house", &files)));
    assert_eq!(circles, ["2 in a circle:\n  a -> a/child: g\n  a/child -> a: Error\n"]);
}

#[test]
fn rooms_can_be_a_circle_where_no_files_are() {
    let files = [
        ("", "mod a; mod b;"),
        ("a", "mod low; mod high;"),
        ("a::low", "pub struct Low;"),
        ("a::high", "use crate::b::B;"),
        ("b", "use crate::a::low::Low; pub struct B;"),
    ];
    let crates = Crates::of("house", &files);
    let arrows = arrows::all(&crates);
    assert!(circles::of(&arrows).is_empty());
    assert_eq!(
        circles::of_rooms(&crates, &arrows),
        ["2 in a circle:\n  house::a -> house::b: B\n  house::b -> house::a: Low\n"]
    );
}

#[test]
fn an_arrow_up_a_room_without_a_floor_and_a_floor_without_a_room_are_faults() {
    let crates = Crates::of(
        "house",
        &[
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::B; pub struct A;"),
            ("b", "pub struct B;"),
            ("c", "use crate::a::A;"),
        ],
    );
    let arrows = arrows::all(&crates);
    let faults = |text| Map::parse(text).faults(&crates, &arrows);
    assert!(faults("house: [[c], [a], [b]]").is_empty());
    assert_eq!(
        faults("house: [[b], [a, d]]"),
        [
            "house: `d` has a floor and is not there",
            "house: `c` has no floor",
            "house: a -> b does not point down: B"
        ]
    );
    assert_eq!(faults("house: [[c], [a, b]]"), ["house: a -> b does not point down: B"]);
}

#[test]
fn methods_elsewhere_are_found() {
    let crates = Crates::of(
        "house",
        &[
            ("", "mod a;"),
            ("a", "mod b; pub struct A; impl A {}"),
            ("a::b", "use super::A; impl A { fn f() {} } impl Drop for A { fn drop(&mut self) {} }"),
        ],
    );
    assert_eq!(arrows::spread(&crates), ["a/b has methods of A, which a defines"]);
}

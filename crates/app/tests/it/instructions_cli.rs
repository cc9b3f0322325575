//! `bugle agent instructions`, as it is typed.

use serde_json::json;

use crate::scene::{Scene, finish};

fn of<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["agent", "instructions"], rest].concat()
}

#[test]
fn instructions_are_written_shown_edited_and_removed_by_command() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "ada", "--adapter", "codex_local", "--", "true"]);
    assert!(scene.ok(&of(&["files", "ada"])).err.contains("bugle agent instructions set ada AGENTS.md"));
    let none = scene.bugle(&[&["--json"], of(&["show", "ada"]).as_slice()].concat());
    assert_eq!((none.code, none.error()["code"].clone()), (Some(2), json!("instructions.no_file")));
    let nothing = scene.bugle(&[&["--json"], of(&["set", "ada"]).as_slice()].concat());
    assert_eq!((nothing.code, nothing.error()["code"].clone()), (Some(2), json!("instructions.nothing")));

    let (file, folder) = (scene.place("guide.md"), scene.place("folder"));
    std::fs::write(&file, "Be brief.\n").unwrap();
    std::fs::create_dir_all(folder.join("docs")).unwrap();
    for (name, text) in [("docs/style.md", "Short lines.\n"), ("AGENTS.md", "Be kind.\n"), (".hidden", "x")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let file = file.to_str().unwrap().to_owned();
    assert!(scene.ok(&of(&["set", "ada", &file])).out.contains("ada: AGENTS.md is written"));
    assert_eq!(scene.ok(&of(&["show", "ada"])).out, "Be brief.\n");
    scene.ok(&of(&["set", "ada", folder.to_str().unwrap()]));
    assert_eq!(scene.json(&of(&["show", "ada", "docs/style.md"]))["content"], "Short lines.\n");
    let listed = scene.ok(&of(&["files", "ada"]));
    assert!(listed.out.contains("AGENTS.md") && listed.out.contains("docs/style.md"), "{listed:?}");
    assert!(!listed.out.contains("hidden") && listed.err.contains("kept by Bugle"), "{listed:?}");

    let drafts = scene.place("drafts");
    std::fs::create_dir(&drafts).unwrap();
    let edit = |editor: &str| {
        let mut command = scene.command(&of(&["edit", "ada"]));
        command.env("EDITOR", editor).env_remove("VISUAL").env("TMPDIR", &drafts);
        finish(command)
    };
    assert!(edit("true").err.contains("nothing was changed"));
    assert_eq!(edit("false").code, Some(1));
    let nothing_is_left = || std::fs::read_dir(&drafts).unwrap().next().is_none();
    assert!(nothing_is_left());
    assert!(edit("sed -i s/kind/kinder/").out.contains("AGENTS.md is written"));
    assert_eq!(scene.ok(&of(&["show", "ada"])).out, "Be kinder.\n");
    assert!(nothing_is_left());
    // What somebody wrote is not lost with the editor.
    let broken = edit("sh -c 'echo Be bold. > $0; exit 3'");
    let draft = std::fs::read_dir(&drafts).unwrap().next().unwrap().unwrap().path().join("AGENTS.md");
    assert!(broken.code == Some(1) && broken.err.contains(draft.to_str().unwrap()), "{broken:?}");
    assert_eq!(std::fs::read_to_string(draft).unwrap(), "Be bold.\n");

    scene.ok(&of(&["set", "ada", &file, "--as", "docs/guide.md", "--entry", "docs/guide.md"]));
    assert_eq!(scene.ok(&of(&["show", "ada"])).out, "Be brief.\n");
    let kept = scene.bugle(&of(&["rm", "ada", "docs/guide.md"]));
    assert_eq!(kept.code, Some(2), "{kept:?}");
    assert!(scene.ok(&of(&["rm", "ada", "docs/style.md"])).out.contains("docs/style.md is removed"));
    let external =
        scene.ok(&of(&["set", "ada", "--external", folder.to_str().unwrap(), "--entry", "AGENTS.md"]));
    assert!(external.out.contains("kept by"), "{external:?}");
    assert_eq!(scene.ok(&of(&["show", "ada"])).out, "Be kind.\n");
}

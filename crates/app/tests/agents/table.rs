//! What each program is expected to do in each case, as our users see it.
//!
//! A row is a case: what the model does (the marker in the prompt) and what is done to the run. A column is a program.
//! Where programs differ, the difference is theirs: it was measured, and the notes beside the cells say what it is.

use crate::programs::Program;

/// One situation.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The prompt; its marker tells the model what to do.
    pub(crate) prompt: &'static str,
    pub(crate) play: Play,
    /// The columns.
    claude_old: Expected,
    claude_new: Expected,
    codex: Expected,
    gemini: Expected,
    pi: Expected,
    opencode: Expected,
    qwen: Expected,
    claude_acp: Expected,
    codex_acp: Expected,
}

/// What is done to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Play {
    /// It is left alone.
    Once,
    /// The agent is woken a second time for the same task: the second run is what is looked at.
    Again,
    /// The same, and in between the program loses all its sessions.
    AgainForgotten,
    /// It is cancelled when the model has been asked.
    CancelAsked,
    /// It is cancelled when its tool runs.
    CancelTool,
}

/// What becomes of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) end: End,
    pub(crate) usage: Reported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Succeeds,
    Fails {
        code: &'static str,
        /// It is tried again by itself.
        passing: bool,
        /// The provider said when: an hour from now.
        until: bool,
    },
    Cancelled,
    /// The program goes on trying for longer than anybody waits: our time limit ends the run.
    OutOfTime,
}

/// What the program says about its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// All of it: the run's usage is what the model reported. Where the model reported nothing, nothing may be said.
    All,
    /// The program may be stopped before it says all: unknown, or no more than the model reported.
    AtMost,
    /// The answer broke off: the model bills nothing, and the program may tell what the answer said of itself at its
    /// beginning, once for each time that it asked again. Whether it has read that before the end is chance.
    Begun,
}

const WELL: Expected = Expected { end: End::Succeeds, usage: Reported::All };
const CANCELLED: Expected = Expected { end: End::Cancelled, usage: Reported::AtMost };
const OUT_OF_TIME: Expected = Expected { end: End::OutOfTime, usage: Reported::All };

const fn fails(code: &'static str) -> Expected {
    Expected { end: End::Fails { code, passing: false, until: false }, usage: Reported::All }
}

const fn passes(code: &'static str) -> Expected {
    Expected { end: End::Fails { code, passing: true, until: false }, usage: Reported::All }
}

const fn passes_at(code: &'static str) -> Expected {
    Expected { end: End::Fails { code, passing: true, until: true }, usage: Reported::All }
}

impl Case {
    const fn same(name: &'static str, prompt: &'static str, play: Play, all: Expected) -> Case {
        let (claude_old, claude_new, codex, gemini, pi, opencode, qwen) = (all, all, all, all, all, all, all);
        let (claude_acp, codex_acp) = (all, all);
        Case {
            name,
            prompt,
            play,
            claude_old,
            claude_new,
            codex,
            gemini,
            pi,
            opencode,
            qwen,
            claude_acp,
            codex_acp,
        }
    }

    /// What is expected of a program.
    pub(crate) const fn expected(&self, program: Program) -> Expected {
        match program {
            Program::ClaudeOld => self.claude_old,
            Program::ClaudeNew => self.claude_new,
            Program::Codex => self.codex,
            Program::Gemini => self.gemini,
            Program::Pi => self.pi,
            Program::OpenCode => self.opencode,
            Program::Qwen => self.qwen,
            Program::ClaudeAcp => self.claude_acp,
            Program::CodexAcp => self.codex_acp,
        }
    }
}

/// The file that the tool of the tool cases makes in the folder the agent works in.
pub(crate) const MADE: &str = "made-by-the-tool";

pub(crate) const CASES: &[Case] = &[
    Case::same("text", "[fake:text say=\"All is said.\"]", Play::Once, WELL),
    Case::same("tool call", "[fake:bash cmd=\"echo hi > made-by-the-tool\"]", Play::Once, WELL),
    Case::same("resume", "[fake:text]", Play::Again, WELL),
    // One more process in the same run, and a session of its own.
    Case::same("unknown session", "[fake:text]", Play::AgainForgotten, WELL),
    Case::same("429 that says when", "[fake:429 times=1 retry_after=1]", Play::Once, WELL),
    Case {
        // At once, and without a word about the time.
        claude_old: passes("claude_transient_upstream"),
        claude_new: passes("claude_transient_upstream"),
        // Waits as long as it was told, as most do.
        codex: OUT_OF_TIME,
        gemini: passes_at("adapter_failed"),
        pi: OUT_OF_TIME,
        opencode: OUT_OF_TIME,
        qwen: OUT_OF_TIME,
        claude_acp: passes("adapter_failed"),
        codex_acp: OUT_OF_TIME,
        ..Case::same("429 that says a distant when", "[fake:429 retry_after=3600]", Play::Once, WELL)
    },
    Case {
        claude_old: passes("claude_transient_upstream"),
        claude_new: passes("claude_transient_upstream"),
        codex: passes("codex_transient_upstream"),
        // Waits a minute and more between tries.
        gemini: OUT_OF_TIME,
        // After twelve requests.
        pi: passes("adapter_failed"),
        opencode: OUT_OF_TIME,
        qwen: OUT_OF_TIME,
        claude_acp: passes("adapter_failed"),
        codex_acp: passes("adapter_failed"),
        ..Case::same("429 for good", "[fake:429]", Play::Once, WELL)
    },
    Case {
        claude_old: fails("claude_auth_required"),
        claude_new: fails("claude_auth_required"),
        codex: fails("auth_required"),
        gemini: fails("gemini_auth_required"),
        pi: fails("auth_required"),
        opencode: fails("auth_required"),
        qwen: fails("auth_required"),
        claude_acp: fails("auth_required"),
        codex_acp: fails("auth_required"),
        ..Case::same("401", "[fake:401]", Play::Once, WELL)
    },
    Case {
        claude_old: passes("claude_transient_upstream"),
        claude_new: passes("claude_transient_upstream"),
        codex: passes("codex_transient_upstream"),
        gemini: OUT_OF_TIME,
        pi: passes("adapter_failed"),
        opencode: OUT_OF_TIME,
        qwen: OUT_OF_TIME,
        claude_acp: passes("adapter_failed"),
        codex_acp: passes("adapter_failed"),
        ..Case::same("500", "[fake:500]", Play::Once, WELL)
    },
    Case {
        // With a key and not a subscription the words have no time in them.
        claude_old: passes("quota_exhausted"),
        claude_new: passes("quota_exhausted"),
        codex: passes_at("quota_exhausted"),
        gemini: passes("quota_exhausted"),
        pi: passes("quota_exhausted"),
        opencode: OUT_OF_TIME,
        qwen: OUT_OF_TIME,
        claude_acp: passes("quota_exhausted"),
        codex_acp: passes_at("quota_exhausted"),
        ..Case::same("usage limit", "[fake:usage_limit resets=3600]", Play::Once, WELL)
    },
    Case::same("hanging, and stopped", "[fake:hang after=text]", Play::CancelAsked, CANCELLED),
    Case {
        claude_old: Expected { usage: Reported::Begun, ..passes("claude_transient_upstream") },
        claude_new: Expected { usage: Reported::Begun, ..passes("claude_transient_upstream") },
        codex: passes("codex_transient_upstream"),
        gemini: passes("adapter_failed"),
        pi: passes("adapter_failed"),
        opencode: passes("adapter_failed"),
        // Asks for the rest, and gets all.
        qwen: WELL,
        claude_acp: Expected { usage: Reported::Begun, ..passes("adapter_failed") },
        codex_acp: passes("adapter_failed"),
        ..Case::same("cut stream", "[fake:cut after=text]", Play::Once, WELL)
    },
    Case::same(
        "cancel during a tool",
        "[fake:bash cmd=\"echo hi > made-by-the-tool; exec tail -f /dev/null\"]",
        Play::CancelTool,
        CANCELLED,
    ),
];

#[test]
fn every_case_has_a_name_of_its_own_and_a_marker_that_the_model_reads() {
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), CASES.len()), (13, 13));
    for case in CASES {
        assert!(case.prompt.starts_with("[fake:") && case.prompt.ends_with(']'), "{}", case.name);
        assert_eq!(case.prompt.contains(MADE), case.name.contains("tool"), "{}", case.name);
    }
}

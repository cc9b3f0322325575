//! Listening to a client while a script is played: the beginning and the end of a conversation, what is asked in it, and
//! that it is broken off.

use rustix::io::Errno;
use serde_json::Value;

use super::{Fail, Player, Stop, run_id};
use crate::scripted::output;
use crate::scripted::script::{Line, Step};
use crate::scripted::system::Woken;
use crate::scripted::voice::{Heard, Voice};

impl<'a> Player<'a> {
    /// Listens until the turn begins; false when the client leaves before. A script with a step for a session that is
    /// gone keeps no session.
    pub(super) fn prompted(&mut self, script: &[Line]) -> Result<bool, String> {
        let keeps = !loses_sessions(script);
        loop {
            while let Some(line) = self.line() {
                match self.understood(&line, keeps) {
                    Heard::Nothing(answers) => {
                        self.answer(&answers).map_err(|_| "answer the client".to_owned())?;
                    }
                    Heard::Prompted => return Ok(true),
                    Heard::Cancelled | Heard::Answered(_) => {}
                }
            }
            if self.is_input_over {
                return Ok(false);
            }
            self.listen()?;
        }
    }

    /// Takes in what the client said meanwhile.
    pub(super) fn heard(&mut self) -> Result<Option<String>, Stop> {
        self.listen().map_err(|problem| Stop::Failed { number: 0, problem })?;
        let mut chosen = None;
        while let Some(line) = self.line() {
            match self.understood(&line, true) {
                Heard::Nothing(answers) => self.answer(&answers)?,
                Heard::Answered(option) => chosen = Some(option.unwrap_or_else(|| "none".to_owned())),
                Heard::Prompted => {}
                Heard::Cancelled => {
                    let Voice::Acp(voice) = &mut self.voice else { return Ok(None) };
                    let end: Vec<Value> = voice.cancelled().into_iter().collect();
                    self.answer(&end)?;
                    return Err(Stop::Exit(0));
                }
            }
        }
        Ok(chosen)
    }

    /// Asks the client, and waits for its answer.
    pub(super) fn permission(&mut self, tool: &str, input: &Value) -> Result<(), Fail> {
        let input = self.json(input)?;
        let Voice::Acp(voice) = &mut self.voice else {
            return Err("ask for a permission: only an agent that speaks acp can".to_owned().into());
        };
        let question = voice.ask(tool, &input);
        self.answer(&[question])?;
        while !self.is_input_over {
            match self.mailbox.wait_or(None, Some(rustix::stdio::stdin())) {
                Woken::Signal | Woken::Timeout => self.signals()?,
                Woken::Input => {
                    if let Some(chosen) = self.heard()? {
                        self.line_read = chosen;
                        return Ok(());
                    }
                }
            }
        }
        Err("hear an answer: the client is gone".to_owned().into())
    }

    /// Waits until the client ends the conversation.
    pub(super) fn linger(&mut self) {
        while !self.is_input_over && self.listen().is_ok() {
            self.input.clear();
        }
    }

    fn understood(&mut self, line: &str, keeps: bool) -> Heard {
        let Voice::Acp(voice) = &mut self.voice else { return Heard::Nothing(Vec::new()) };
        let heard = voice.hear(line, &format!("session-{}", run_id()), keeps);
        if heard == Heard::Prompted {
            self.session = Some(voice.session().to_owned());
            self.resume = voice.is_resumed().then(|| voice.session().to_owned());
        }
        heard
    }

    fn answer(&mut self, messages: &[Value]) -> Result<(), Stop> {
        for message in messages {
            output::out(format!("{message}\n").as_bytes())?;
        }
        Ok(())
    }

    fn line(&mut self) -> Option<String> {
        let end = memchr::memchr(b'\n', &self.input)?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Waits for more from the client.
    fn listen(&mut self) -> Result<(), String> {
        let mut piece = [0; 64 * 1024];
        match rustix::io::read(rustix::stdio::stdin(), &mut piece) {
            Ok(0) => self.is_input_over = true,
            Ok(count) => self.input.extend_from_slice(&piece[..count]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("read from stdin: {}", std::io::Error::from(error))),
        }
        Ok(())
    }
}

fn loses_sessions(script: &[Line]) -> bool {
    script.iter().any(|line| match &line.step {
        Step::SessionGone { .. } => true,
        Step::Repeat { body, .. } => loses_sessions(body),
        Step::If { then, otherwise, .. } => loses_sessions(then) || loses_sessions(otherwise),
        _ => false,
    })
}

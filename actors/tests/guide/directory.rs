use actors::{Actor, ActorContext, Behavior, BoxError, Handled, ReplyTo, StashBuffer};
use std::collections::BTreeMap;

type Names = BTreeMap<u32, String>;

pub struct Directory {
    names: Option<Names>, // `None` while loading
    stash: StashBuffer<DirectoryMessage>,
}

#[derive(Debug)]
pub enum DirectoryMessage {
    Lookup {
        id: u32,
        reply_to: ReplyTo<Option<String>>,
    },
    #[doc(hidden)]
    Loaded(Loaded),
}
#[derive(Debug)]
pub struct Loaded(Result<Names, BoxError>);

impl Directory {
    pub fn new() -> Self {
        Self { names: None, stash: StashBuffer::with_capacity(1_000) }
    }
}

impl Actor for Directory {
    type Message = DirectoryMessage;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        ctx.pipe_to_self(load_names(), |names| DirectoryMessage::Loaded(Loaded(names)));
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match (&self.names, msg) {
            (_, DirectoryMessage::Loaded(Loaded(names))) => {
                self.names = Some(names?);
                ctx.unstash_all(&mut self.stash); // served before anything newer in the mailbox
            }
            (None, early) => self.stash.stash(early)?, // full: an error that says so, never silent
            (Some(names), DirectoryMessage::Lookup { id, reply_to }) => reply_to.tell(names.get(&id).cloned()),
        }
        Ok(Behavior::Same)
    }
}

async fn load_names() -> Result<Names, BoxError> {
    tokio::task::yield_now().await;
    Ok(Names::from([(7, "seven".to_owned())]))
}

#[test]
fn early_questions_are_answered_once_loaded() {
    let kit = actors::testkit::TestKit::new();
    let directory = kit.spawn("directory", Directory::new());
    let lookup = |id| {
        directory.ask(move |reply_to| DirectoryMessage::Lookup { id, reply_to }, std::time::Duration::from_secs(1))
    };
    let (seven, eight) = (lookup(7), lookup(8));
    assert_eq!(kit.block_on(seven), Ok(Some("seven".to_owned())));
    assert_eq!(kit.block_on(eight), Ok(None));
}

//! What a controller supports: Supported Log Pages and Commands Supported and Effects (NVMe Base 2.0 §5.16.1.1, §5.16.1.6).

use super::Lid;
use crate::{AdminOpcode, IoOpcode};
use zerocopy::little_endian::U32;

bitfield! {
    /// LID Supported and Effects.
    pub struct LogPageSupport(u32) {
        /// The log page is supported.
        supported, with_supported: bool = 0..1;
        /// Index Offset Supported.
        index_offset, with_index_offset: bool = 1..2;
        /// What the page's own definition says.
        specific, with_specific: u16 = 16..32;
    }
}

wire_struct! {
    /// Supported Log Pages (LID 00h).
    pub struct SupportedLogPages[1024] {
        /// By log page identifier: [`LogPageSupport`].
        pub pages: [U32; 256],
    }
}

impl SupportedLogPages {
    /// What is said about a page.
    #[must_use]
    pub fn page(&self, lid: Lid) -> LogPageSupport {
        LogPageSupport(self.pages[usize::from(lid.0)].get())
    }

    /// Says it.
    pub fn set_page(&mut self, lid: Lid, support: LogPageSupport) -> &mut Self {
        self.pages[usize::from(lid.0)] = U32::new(support.0);
        self
    }
}

open_enum! {
    /// Command Submission and Execution (CSE): what else may run beside the command.
    pub Execution: u8 {
        UNRESTRICTED = 0b000, "no restriction";
        ONE_PER_NAMESPACE = 0b001, "nothing else for the same namespace";
        ONE_PER_SUBSYSTEM = 0b010, "nothing else for any namespace";
    }
}

bitfield! {
    /// Commands Supported and Effects data structure.
    pub struct CommandEffects(u32) {
        /// Command Supported.
        supported, with_supported: bool = 0..1;
        /// Logical Block Content Change.
        content_change, with_content_change: bool = 1..2;
        /// Namespace Capability Change.
        namespace_capability_change, with_namespace_capability_change: bool = 2..3;
        /// Namespace Inventory Change.
        namespace_inventory_change, with_namespace_inventory_change: bool = 3..4;
        /// Controller Capability Change.
        controller_capability_change, with_controller_capability_change: bool = 4..5;
        /// Command Submission and Execution Relaxations.
        relaxations, with_relaxations: u8 = 14..16;
        /// Command Submission and Execution.
        execution, with_execution: [Execution u8] = 16..19;
        /// UUID Selection Supported.
        uuid_selection, with_uuid_selection: bool = 19..20;
        /// Command Scope: bit 0 namespace, 1 controller, 2 NVM set, 3 endurance group, 4 domain, 5 NVM subsystem.
        scope, with_scope: u16 = 20..32;
    }
}

wire_struct! {
    /// Commands Supported and Effects (LID 05h).
    pub struct CommandEffectsLog[4096] {
        /// Admin commands, by opcode: [`CommandEffects`].
        pub admin: [U32; 256],
        /// I/O commands, by opcode: [`CommandEffects`].
        pub io: [U32; 256],
        pub(crate) reserved_2048: [u8; 2048],
    }
}

impl CommandEffectsLog {
    /// What is said about an Admin command.
    #[must_use]
    pub fn admin_command(&self, opcode: AdminOpcode) -> CommandEffects {
        CommandEffects(self.admin[usize::from(opcode.0)].get())
    }

    /// What is said about an I/O command.
    #[must_use]
    pub fn io_command(&self, opcode: IoOpcode) -> CommandEffects {
        CommandEffects(self.io[usize::from(opcode.0)].get())
    }

    /// Says it of an Admin command.
    pub fn set_admin_command(&mut self, opcode: AdminOpcode, effects: CommandEffects) -> &mut Self {
        self.admin[usize::from(opcode.0)] = U32::new(effects.0);
        self
    }

    /// Says it of an I/O command.
    pub fn set_io_command(&mut self, opcode: IoOpcode, effects: CommandEffects) -> &mut Self {
        self.io[usize::from(opcode.0)] = U32::new(effects.0);
        self
    }
}

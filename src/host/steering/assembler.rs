//! As much of an eBPF assembler as the steering program needs: registers, a few instructions, and
//! labels for forward jumps (kernel `Documentation/bpf/standardization/instruction-set.rst`). By hand: libraries bring a
//! compiler or a loader, and the program is one screen.

/// One instruction as the kernel reads it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register. R0 holds results, R1 to R5 arguments (lost by calls and packet loads), R6 the packet
/// during packet loads; R7 to R9 are kept; R10 is the end of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R6 = 6,
    R7,
    R8,
    R9,
    R10,
}

/// Width of a packet load; the value arrives in host byte order.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
}

/// Arithmetic, on 32 bits unless said otherwise; the upper half of the target becomes zero.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Operation {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Xor = 0xA0,
    Move = 0xB0,
}

/// Unsigned 64-bit comparisons of a register with a constant.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Condition {
    Equal = 0x10,
    AtLeast = 0x30,
    NotEqual = 0x50,
}

/// Target of forward jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

const CLASS_LD: u8 = 0x00;
const CLASS_LDX: u8 = 0x01;
const CLASS_STX: u8 = 0x03;
const CLASS_ALU32: u8 = 0x04;
const CLASS_JUMP: u8 = 0x05;
const CLASS_ALU64: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const MODE_ABSOLUTE: u8 = 0x20;
const MODE_INDIRECT: u8 = 0x40;
const MODE_MEMORY: u8 = 0x60;
const DOUBLE_WORD: u8 = 0x18;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// `BPF_PSEUDO_MAP_FD`: the constant is a descriptor, which the kernel replaces by the map.
const MAP_DESCRIPTOR: u8 = 1;

/// Collects instructions.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label to jump to before it is placed.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The next instruction is where jumps to `label` arrive.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// R0 = packet bytes at `offset`; a packet too short ends the program with 0.
    pub(super) fn load(&mut self, width: Width, offset: i32) {
        self.push(CLASS_LD | width as u8 | MODE_ABSOLUTE, 0, 0, offset);
    }

    /// R0 = packet bytes at `base + offset`; a packet too short ends the program with 0.
    pub(super) fn load_at(&mut self, width: Width, base: Register, offset: i32) {
        self.push(CLASS_LD | width as u8 | MODE_INDIRECT, (base as u8) << 4, 0, offset);
    }

    /// `target = target op constant` on 32 bits.
    pub(super) fn constant(&mut self, operation: Operation, target: Register, constant: i32) {
        self.push(CLASS_ALU32 | operation as u8, target as u8, 0, constant);
    }

    /// `target = target op source` on 32 bits.
    pub(super) fn register(&mut self, operation: Operation, target: Register, source: Register) {
        self.push(CLASS_ALU32 | operation as u8 | FROM_REGISTER, pair(target, source), 0, 0);
    }

    /// `target = target op constant` on 64 bits.
    pub(super) fn constant64(&mut self, operation: Operation, target: Register, constant: i32) {
        self.push(CLASS_ALU64 | operation as u8, target as u8, 0, constant);
    }

    /// `target = source`, 64 bits: for pointers.
    pub(super) fn copy64(&mut self, target: Register, source: Register) {
        self.push(CLASS_ALU64 | Operation::Move as u8 | FROM_REGISTER, pair(target, source), 0, 0);
    }

    /// Stores 32 bits of `source` at `base + offset`.
    pub(super) fn store(&mut self, base: Register, offset: i16, source: Register) {
        self.push(CLASS_STX | MODE_MEMORY, pair(base, source), offset, 0);
    }

    /// Loads 32 bits at `base + offset` into `target`.
    pub(super) fn fetch(&mut self, target: Register, base: Register, offset: i16) {
        self.push(CLASS_LDX | MODE_MEMORY, pair(target, base), offset, 0);
    }

    /// `target` = the map behind `descriptor`.
    pub(super) fn map(&mut self, target: Register, descriptor: i32) {
        self.push(CLASS_LD | DOUBLE_WORD, (target as u8) | (MAP_DESCRIPTOR << 4), 0, descriptor);
        self.push(0, 0, 0, 0);
    }

    /// Calls a helper of the kernel.
    pub(super) fn call(&mut self, helper: i32) {
        self.push(CLASS_JUMP | CALL, 0, 0, helper);
    }

    /// Jumps to `label` if `register` compares so with `constant`.
    pub(super) fn jump_if(&mut self, condition: Condition, register: Register, constant: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP | condition as u8, register as u8, 0, constant);
    }

    /// Jumps to `label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(CLASS_JUMP, 0, 0, 0);
    }

    /// `target = constant` on 64 bits.
    pub(super) fn wide(&mut self, target: Register, constant: u64) {
        let [low, high] = [constant, constant >> 32].map(|half| (half & 0xFFFF_FFFF) as u32);
        self.push(CLASS_LD | DOUBLE_WORD, target as u8, 0, low.cast_signed());
        self.push(0, 0, 0, high.cast_signed());
    }

    /// `target = target op source` on 64 bits.
    pub(super) fn register64(&mut self, operation: Operation, target: Register, source: Register) {
        self.push(CLASS_ALU64 | operation as u8 | FROM_REGISTER, pair(target, source), 0, 0);
    }

    /// Ends the program; R0 is its result.
    pub(super) fn exit(&mut self) {
        self.push(CLASS_JUMP | EXIT, 0, 0, 0);
    }

    /// The program, jumps filled in. A jump to a label that was never placed stays a jump to the
    /// next instruction; the kernel's verifier and the tests would show it.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            let distance = self.labels[label.0].map_or(0, |to| to - from - 1);
            self.code[from].offset = i16::try_from(distance).unwrap_or(i16::MAX);
        }
        self.code
    }

    fn push(&mut self, code: u8, registers: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers, offset, immediate });
    }
}

fn pair(target: Register, source: Register) -> u8 {
    (target as u8) | ((source as u8) << 4)
}

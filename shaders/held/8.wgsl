const HELD_GROUPS = 8u; // groups of four hidden units whose weights an invocation holds

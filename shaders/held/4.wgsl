const HELD_GROUPS = 4u; // groups of four hidden units whose weights an invocation holds

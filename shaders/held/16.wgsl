const HELD_GROUPS = 16u; // groups of four hidden units whose weights an invocation holds

"""What keeps a store: pack, gc, fsck, void, copies, and accepting a store that was set back."""

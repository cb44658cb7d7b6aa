"""The administrators' pages of which agencies there are: all of them, one more, one less."""

"""What do the tasks on sequences of tokens share, whatever the tokens are?"""
